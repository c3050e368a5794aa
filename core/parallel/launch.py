"""Which process of a launch this is, as torchrun says in the environment. Importing this does not import torch."""

import os
from dataclasses import dataclass

from core.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """One process of several that were started together.

    Attributes:
        rank, size: its number among all, from 0, and how many there are.
        local_rank, local_size: the same on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def launch() -> Launch | None:
    """Read which process this is; None for one that was started alone.

    Raises:
        UsageError: the environment says nonsense.
    """
    try:
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return None
        rank = int(os.environ["RANK"])
        local = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"WORLD_SIZE is set, and RANK and the others do not fit it ({error}): start with torchrun, or unset it"
        ) from error
    return Launch(rank, size, *local)


def is_follower() -> bool:
    """Whether this is a process of several, and not the first, which alone speaks."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"
