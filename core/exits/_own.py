"""Users' own exit methods: loaded, and held to the contract of the built-in ones."""

from core.exits._check import BrokenContractError, check
from core.exits._contract import ExitMethod
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import find, load


def own_method(reference: str) -> ExitMethod:
    """Load a user's method and check it.

    Args:
        reference: pinned to its content.

    Raises:
        ConfigError: it is gone, has changed, does not run, or does not keep the contract.
    """
    plugin = find(EXIT_METHODS, reference)
    loaded = load(plugin)
    try:
        method = check(loaded)
        if method.predicts_gains:
            raise BrokenContractError("predicts_gains", "must be False: only the built-in gain exit is fitted so")
        return method
    except BrokenContractError as broken:
        cause = broken.__cause__
        place = plugin.place_of(cause) if cause else plugin.line_of(broken.part, type(loaded).__name__)
        raise plugin.refused(place, f"{broken.part} {broken.reason}") from broken
