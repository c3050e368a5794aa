"""Named random streams: every draw comes from `(seed, name, …)` alone, never from what was drawn before it.

So a stage's result depends on its inputs only: leaving a stage out, reusing it from a sibling run or training
it again changes nothing in the stages after it.
"""

import hashlib

import torch
from torch import Tensor


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator that is fully determined by the seed and the names.

    Draws are made on the CPU and moved, so they are the same on every device.
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    state = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(state)


def uniform(positions: Tensor, seed: int, *names: str | int) -> Tensor:
    """Return a number in [0, 1) per position, float64 on the CPU, that depends on no other position.

    The finaliser of SplitMix64 (Steele et al. 2014, figure 17) hashes position and stream; 53 bits are kept.
    """
    key = stream(seed, *names).initial_seed()
    bits = positions.cpu() * _GOLDEN_GAMMA + key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ _shifted(bits, shift)) * _signed(factor)
    return _shifted(bits ^ _shifted(bits, 31), 11).double() / 2**53


def _shifted(bits: Tensor, shift: int) -> Tensor:
    """Shift right logically; a shift of int64 itself would extend the sign."""
    return (bits >> shift) & ((1 << (64 - shift)) - 1)


def _signed(bits: int) -> int:
    """Return the int64 with the same 64 bits."""
    return bits - (1 << 64) if bits >> 63 else bits


_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
