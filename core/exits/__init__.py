"""The exit methods: every module here whose name has no leading underscore is one, and offers `EXIT`.

To add a method, add a file. `core/exits/_contract.py` says what it must offer; the contract test finds it. Torch is
imported with the first method that is asked for.
"""

import importlib
from typing import TYPE_CHECKING

from core.config.run_config import RunConfig, method_names

if TYPE_CHECKING:
    from core.exits._contract import ExitMethod


def exit_method(name: str) -> "ExitMethod":
    """The exit method of that name.

    Raises:
        KeyError: there is no such method; a validated config never names one.
    """
    if name not in method_names():
        raise KeyError(name)
    method: ExitMethod = importlib.import_module(f"core.exits.{name}").EXIT
    return method


def first_method(name: str) -> "ExitMethod":
    """The method that decides while the later blocks are still to be trained: the method itself, or its stand-in."""
    method = exit_method(name)
    return exit_method(method.stand_in) if method.needs_later else method


def fits_classifier_jointly(config: RunConfig) -> bool:
    """Whether the exit classifier trains along with its block."""
    return (
        config.exit.exit_classifier_mode == "joint"
        and config.protocol != "full_depth"
        and first_method(config.method).learns
    )
