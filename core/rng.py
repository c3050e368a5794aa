"""Named random streams: every draw comes from `(seed, name, …)` alone, never from what was drawn before it.

So a stage's result depends on its inputs only: leaving a stage out, reusing it from a sibling run or training
it again changes nothing in the stages after it.
"""

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator that is fully determined by the seed and the names.

    Draws are made on the CPU and moved, so they are the same on every device.
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    state = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(state)
