"""The curve of one price for all exits, beside the quantile's and the static line: a table, a sentence, JSON."""

from typing import Any

import numpy as np
from rich.table import Table

from core.analysis.price_curve import PriceCurve, PricePoint
from core.analysis.tradeoff import TradeOff
from core.intervals import Interval
from eetui.drawing.figures import difference, figure, ppl_and_bits, price
from eetui.drawing.tables import headed_table

SHOWN_POINTS = 11
"""Rows of a curve's table."""
BEATS, LOSES = "✓", "·"
PRICED_LEGEND = (
    f"{BEATS} the 95% interval over windows lies below the static line; {LOSES} not. Price: nats for the cost of the "
    "whole model"
)


def priced_table(curve: PriceCurve, quantile: TradeOff, cost: str, bytes_per_token: float | None) -> Table:
    """Show points of the curve at even savings, beside the quantile's curve and the static line at the same savings.

    Args:
        quantile: the curve of one exit rate for all exits, in the same savings.
        cost: name of what is saved.
        bytes_per_token: mean bytes of the evaluated tokens; None: no bits per byte are shown.
    """
    names = ("PPL", "bits/byte")[: 1 if bytes_per_token is None else 2]
    kinds = [f"{kind}{name}" for kind in ("", "Quantile ", "Static ") for name in names]
    heads = ["Price", "Left early", f"{cost} saved", *kinds, "Nats above it", ""]
    table = headed_table(f"One price for all exits, by {cost}", heads)
    for point in curve.spread(SHOWN_POINTS):
        table.add_row(
            price(point.price),
            figure(1 - point.shares[-1] + 0.0, "share"),
            figure(point.savings + 0.0, "share"),
            *(
                cell
                for loss in (point.loss, _quantile_loss(quantile, point), point.line)
                for cell in ppl_and_bits(loss, bytes_per_token)
            ),
            against_line(point),
            BEATS if point.clearly_below else LOSES,
        )
    return table


def priced_line(curve: PriceCurve, cost: str) -> str:
    """Say where the curve is clearly below the static line, and by how much."""
    lowest, below = curve.lowest, curve.below
    if lowest is None:
        return f"One price, by {cost}: nowhere clearly below the static line"
    saved = [point.savings for point in below]
    return (
        f"One price, by {cost}: clearly below the static line at {len(below)} of {len(curve.points)} prices, between "
        f"{min(saved):.1%} and {max(saved):.1%} saved; furthest at {lowest.savings:.1%}: {against_line(lowest)} nats "
        f"(price {price(lowest.price)})"
    )


def against_line(point: PricePoint) -> str:
    """Write the difference to the static line with its interval."""
    return difference(point.loss - point.line, point.difference)


def priced_json(curve: PriceCurve) -> list[dict[str, Any]]:
    """Return every point; losses in nats, savings as shares of the full model."""
    return [
        {
            "price": point.price,
            "thresholds": point.thresholds,
            "shares": point.shares,
            "savings": point.savings,
            "loss": point.loss,
            "line": point.line,
            "difference": _json_interval(point.difference),
        }
        for point in curve.points
    ]


def _json_interval(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else {"low": found.low, "mean": found.mean, "high": found.high}


def _quantile_loss(quantile: TradeOff, point: PricePoint) -> float | None:
    """Return the loss of the quantile's curve at the same savings; None beyond its ends."""
    if not quantile.savings[0] <= point.savings <= quantile.savings[-1]:
        return None
    return float(np.interp(point.savings, quantile.savings, quantile.loss))
