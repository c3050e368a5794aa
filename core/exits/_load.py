"""Exit methods by their references, built in or users' own."""

import importlib
from functools import cache
from typing import Any

from core.exits._check import BrokenContractError, check
from core.exits._contract import ExitMethod
from core.exits._facts import RECORD_KEY
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import Plugin, find, is_pinned, load


@cache
def exit_method(reference: str) -> ExitMethod:
    """The exit method of that reference; a user's own is checked, and stays as it was loaded.

    Args:
        reference: as a validated config has it: a built-in name, or a plug-in pinned to its content.

    Raises:
        KeyError: it is neither.
        ConfigError: the plug-in is gone, has changed, or does not keep the contract.
    """
    if is_pinned(reference):
        return _own_method(find(EXIT_METHODS, reference))
    if reference not in EXIT_METHODS.built_in:
        raise KeyError(reference)
    method: ExitMethod = importlib.import_module(f"core.exits.{reference}").EXIT
    return method


def first_method(reference: str) -> ExitMethod:
    """The method that decides while the later blocks are still to be trained: the method itself, or its stand-in."""
    method = exit_method(reference)
    return exit_method(method.stand_in) if method.needs_later else method


def method_record(reference: str) -> dict[str, Any]:
    """What a run's record holds of its method, for those who must not import it (`core.exits._facts`)."""
    method = exit_method(reference)
    facts: dict[str, Any] = {"reads_head": method.reads_head, "claims": method.claims}
    own = find(EXIT_METHODS, reference).record if is_pinned(reference) else {"name": reference}
    return {RECORD_KEY: own | facts}


def _own_method(plugin: Plugin) -> ExitMethod:
    """Load a user's method and hold it to the contract.

    Raises:
        ConfigError: it does not run, or does not keep the contract.
    """
    loaded = load(plugin)
    try:
        return check(loaded)
    except BrokenContractError as broken:
        cause = broken.__cause__
        place = plugin.place_of(cause) if cause else plugin.line_of(broken.part, type(loaded).__name__)
        raise plugin.refused(place, f"{broken.part} {broken.reason}") from broken
