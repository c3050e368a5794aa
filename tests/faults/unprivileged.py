"""Processes that may write no more than the modes of files say, also where the tests run as root."""

import ctypes
import os

BOUNDING_SET_DROP, OVERRIDES = 24, (1, 2)
"""prctl's PR_CAPBSET_DROP, and the capabilities that let root write and read in spite of modes."""


def give_up_overrides() -> None:
    """Give up what root has over others, with the next program that this process becomes (a `preexec_fn`)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in OVERRIDES:
            libc.prctl(BOUNDING_SET_DROP, capability, 0, 0, 0)
