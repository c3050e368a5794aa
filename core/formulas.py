"""Formulas of the reported figures, on plain numbers."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

LARGEST_LOSS = 700.0
"""Nats from which on a PPL is taken to be infinite: e^709 is the largest float."""
Number = TypeVar("Number")
"""A float, or an array or tensor of them."""


def perplexity(loss: float) -> float:
    """Return exp of the mean cross-entropy in nats; infinite where it is too large for a float."""
    return math.exp(loss) if loss < LARGEST_LOSS else math.inf


def bits_per_byte(loss: float, tokens: int, text_bytes: float) -> float:
    """Return the bits that each byte of a text costs, from the mean cross-entropy in nats of its tokens."""
    return loss * tokens / (math.log(2) * text_bytes)


def bits_at(loss: float, bytes_per_token: float | None) -> float | None:
    """Return the bits per byte of a text whose tokens are that long on average; None if that is not known."""
    return bits_per_byte(loss, 1, bytes_per_token) if bytes_per_token else None


def relative_change(value: float, before: float) -> float | None:
    """Return `value / before − 1`; None where one of them is infinite, so that there is no such share."""
    return value / before - 1 if math.isfinite(value) and math.isfinite(before) else None


def ppl_change(nats: float) -> float:
    """Return the relative change of a PPL by a difference of losses in nats; infinite where it is too large."""
    return math.expm1(nats) if nats < LARGEST_LOSS else math.inf


def each_alone(blocks: int) -> Iterator[list[float]]:
    """Yield the exit shares if all tokens leave at block 0, at block 1, …"""
    return ([float(block == other) for other in range(blocks)] for block in range(blocks))


def share_of_layers_saved(exit_shares: Iterable[float], block_layers: tuple[int, ...]) -> float:
    """Return 1 − layers run ÷ layers of the full model, from the share of the tokens that exits at each block."""
    total = sum(block_layers)
    run = sum(share * sum(block_layers[: block + 1]) for block, share in enumerate(exit_shares))
    return 1 - run / total


def layers_saved(block_layers: tuple[int, ...]) -> tuple[float, ...]:
    """Return the share of the layers that a token saves by leaving at each block, `[K]`."""
    return tuple(share_of_layers_saved(alone, block_layers) for alone in each_alone(len(block_layers)))


def price_signal(price: Number) -> Number:
    """Map prices, nats for the cost of the whole model, to exit signals in (0, 1), falling; price 0 is 1/2.

    The map is `1/2 − p / 2(1 + |p|)`: its slope is gentle, so that float32 tells prices of any size apart.
    """
    value: Any = price
    return cast(Number, 0.5 - value / (2 + 2 * abs(value)))


def signal_price(signal: Number) -> Number:
    """Map exit signals in (0, 1) back to their prices (`price_signal`)."""
    centred: Any = 1 - 2 * cast(Any, signal)
    return cast(Number, centred / (1 - abs(centred)))
