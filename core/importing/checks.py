"""Checks of imported arrays. Each raises one error: which array, which row, and what to do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

MOST_WORDS = 10_000_000
"""The largest vocabulary: each word has a text in memory."""


def place(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Return where a value is: `loss[0, 1, 3] (exit 0, token 35: window 1, place 3)`."""
    written = f"{name}[{', '.join(map(str, index))}]"
    if len(index) < 2:
        return written
    window, token = index[-2:]
    exit_ = f"exit {index[0]}, " if len(index) == 3 else ""
    return f"{written} ({exit_}token {window * shape[-1] + token}: window {window}, place {token})"


def require(fine: NDArray[np.bool_], name: str, values: NDArray[Any], what: str) -> None:
    """Check every value of an array.

    Args:
        fine: whether each value is, in the shape of the array.
        what: what the first that is not should be, and what to do.

    Raises:
        UsageError: one is not.
    """
    if not fine.all():
        index = tuple(int(axis) for axis in np.unravel_index(int((~fine).argmax()), fine.shape))
        raise UsageError(f"{place(name, index, fine.shape)} is {values[index]!s}: {what}")


def numbers(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return an array of finite numbers as float32.

    Raises:
        UsageError: it holds something else.
    """
    if not np.issubdtype(values.dtype, np.floating):
        raise UsageError(f"{name} has dtype {values.dtype}: it must be floating point, such as float32")
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    require(np.isfinite(found), name, values, "it must be a number; leave such tokens out of all arrays")
    return found


def probabilities(name: str, values: NDArray[Any], otherwise: str = "") -> NDArray[np.float32]:
    """Return an array of numbers in [0, 1] as float32.

    Args:
        otherwise: what to do where the values are of another kind.

    Raises:
        UsageError: it holds something else.
    """
    found = numbers(name, values)
    require((found >= 0) & (found <= 1), name, found, f"it must lie between 0 and 1{otherwise}")
    return found


def token_ids(name: str, values: NDArray[Any]) -> NDArray[np.int32]:
    """Return an array of token ids as int32.

    Raises:
        UsageError: it holds something else.
    """
    if not np.issubdtype(values.dtype, np.integer):
        raise UsageError(f"{name} has dtype {values.dtype}: token ids are integers, such as int32")
    require(values >= 0, name, values, "it must be a token's id, 0 or above; leave out of all arrays what is no target")
    require(values < MOST_WORDS, name, values, f"ids are below {MOST_WORDS:,}: number the tokens from 0 on")
    return values.astype(np.int32)


def require_shape(name: str, values: NDArray[Any], wanted: tuple[int, ...], like: str) -> None:
    """Check an array's shape.

    Args:
        like: why it must be that one.

    Raises:
        UsageError: it is another.
    """
    if values.shape != wanted:
        raise UsageError(f"{name} has shape {list(values.shape)}: it must be {list(wanted)}, {like}")


def rising(name: str, values: NDArray[Any], exits: int) -> tuple[float, ...]:
    """Return a positive figure of each exit that rises from exit to exit.

    Raises:
        UsageError: it does not.
    """
    found = vector(name, values, exits)
    require(found > 0, name, found, "costs are above 0")
    for block in range(1, exits):
        if found[block] <= found[block - 1]:
            raise UsageError(
                f"{name}[{block}] is {found[block]:g}, not above {name}[{block - 1}] = {found[block - 1]:g}: give what "
                f"a token costs in all that leaves at each exit, so that it rises from exit to exit"
            )
    return tuple(found.tolist())


def vector(name: str, values: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Return an array of finite numbers, one each, as float64.

    Raises:
        UsageError: it holds something else, or more or fewer.
    """
    require_shape(name, values, (length,), "one number each")
    if not any(np.issubdtype(values.dtype, kind) for kind in (np.integer, np.floating)):
        raise UsageError(f"{name} has dtype {values.dtype}: it must hold numbers")
    found = values.astype(np.float64)
    require(np.isfinite(found), name, found, "it must be a number")
    return found
