"""The exit methods: every module here whose name has no leading underscore is one, and offers `EXIT`.

To add a method, add a file. `core/exits/_contract.py` says what it must offer; the contract test finds it.
"""

import importlib

from core.config.run_config import method_names
from core.exits._contract import ExitMethod as ExitMethod
from core.exits._contract import Observation as Observation


def exit_method(name: str) -> ExitMethod:
    """The exit method of that name.

    Raises:
        KeyError: there is no such method; a validated config never names one.
    """
    if name not in method_names():
        raise KeyError(name)
    method: ExitMethod = importlib.import_module(f"core.exits.{name}").EXIT
    return method


def first_method(name: str) -> ExitMethod:
    """The method that decides while the later blocks are still to be trained: the method itself, or its stand-in."""
    method = exit_method(name)
    return exit_method(method.stand_in) if method.needs_later else method
