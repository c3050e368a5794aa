"""The exit methods: every file here without a leading underscore is one, and offers `EXIT` (`docs/exits.md`).

To add a method, add a file. `core/exits/_contract.py` says what it must offer; the contract test finds it. Torch is
imported with the first method that is asked for.
"""

import importlib
from functools import cache
from typing import TYPE_CHECKING

from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import is_pinned

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from core.exits._contract import ExitMethod


@cache
def exit_method(reference: str) -> "ExitMethod":
    """Return the exit method of a reference; a user's own is checked, and stays as it was loaded.

    Args:
        reference: as a validated config has it: a built-in name, or a plug-in pinned to its content.

    Raises:
        KeyError: it is neither.
        ConfigError: the plug-in is gone, has changed, or does not keep the contract.
    """
    if is_pinned(reference):
        from core.exits._own import own_method

        return own_method(reference)
    if reference not in EXIT_METHODS.built_in:
        raise KeyError(reference)
    method: ExitMethod = importlib.import_module(f"core.exits.{reference}").EXIT
    return method


def first_method(reference: str) -> "ExitMethod":
    """Return the method that decides while later blocks are still to be trained: the method itself, or its stand-in."""
    method = exit_method(reference)
    return exit_method(method.stand_in) if method.needs_later else method


def saved_by_leaving(config: "RunConfig", vocab_size: int, block: int) -> tuple[float, ...]:
    """Return the cost that leaving at a block saves against leaving at each later one, where the method asks for it.

    The cost is a share of the whole model's (`exit.cost`); empty for methods that do not predict gains.
    """
    from core.costs import priced_costs  # pydantic: commands that list methods do without

    method = exit_method(config.method)
    if not method.predicts_gains:
        return ()
    return priced_costs(config, vocab_size, reads_head=method.reads_head, learns=method.learns).saved(block)


def fits_classifier_jointly(config: "RunConfig") -> bool:
    """Whether the exit classifier trains along with its block."""
    return (
        config.exit.exit_classifier_mode == "joint"
        and config.protocol != "full_depth"
        and first_method(config.method).learns
    )
