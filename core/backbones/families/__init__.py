"""The families of pretrained models: every file here without a leading underscore is one, and offers `FAMILY`.

To add a family, add a file. `_contract.py` says what it must offer; the contract test finds it.
"""

import importlib
from functools import cache
from pathlib import Path

from core.backbones.families._contract import Family
from core.errors import ConfigError


@cache
def families() -> tuple[Family, ...]:
    """Return all families, in alphabetical order."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return tuple(importlib.import_module(f"core.backbones.families.{name}").FAMILY for name in names)


def family_of(model_type: str, source: str) -> Family:
    """Return the family of an architecture, by the name that transformers gives it.

    Raises:
        ConfigError: none has it; the message lists those that there are.
    """
    found = next((family for family in families() if model_type in family.model_types), None)
    if found is None:
        known = ", ".join(sorted(name for family in families() for name in family.model_types))
        raise ConfigError(
            f"model {source} is of the architecture {model_type}, which is not supported; these are: {known}"
        )
    return found
