"""Sentences about a calibration's promise and its conditions."""

import math

from core.analysis.risk_control import Violations, fewest_units
from core.formulas import ppl_change

ALIKE = 0.1
"""Correlation of neighbouring units from which larger units are advised."""
MISMATCH = 0.002
"""Difference in nats between measured and computed early exit from which a note is given."""
NAMES = {"ltt": "Learn then Test", "crc": "conformal risk control"}
NEVER = "No threshold is safe, so no token may leave early: PPL is that of all blocks, and nothing is saved."
EVALUATION_TOKENS = (
    "calibrated on a part of the evaluation split: a PPL of that split is no test of these thresholds, save that of "
    "the test half"
)


def budget(method: str, increase: float, delta: float, counted_at_most: float, units: str) -> str:
    """State what is promised: a bound on the mean of a capped excess loss.

    Args:
        increase: budget as an increase of the PPL.
        counted_at_most: cap on a unit's excess, nats.
        units: the calibration units in words.
    """
    often = f"With probability at least {1 - delta:.0%}" if method == "ltt" else "On average"
    return (
        f"{often} over the choice of {units}, the mean excess loss of units like these is at most "
        f"{math.log1p(increase):.4f} nats, where a unit's excess counts as at most {counted_at_most:.3g} nats "
        f"({NAMES[method]}). If no unit exceeds this cap, the PPL is at most {increase:.2%} above that of all "
        f"blocks; the PPL itself is not promised. It is worked out from tokens that go through every block."
    )


def at_price(price: float | None) -> str:
    """State the price that sets the thresholds, as a further sentence; empty where an exit rate sets them."""
    return "" if price is None else f" One price sets all thresholds: {price:.4g} nats for the cost of the whole model."


def exit_rate(rate: float) -> str:
    """State that an exit rate has no promise."""
    return (
        f"At each exit {rate:.0%} of the calibration tokens that arrive leave: their quantile, with no promise about "
        f"other tokens or about the loss."
    )


def nothing_safe(method: str, nats: float, largest: float, delta: float, units: int) -> str:
    """Explain why no threshold was found safe, and what to do.

    Args:
        largest: cap on a unit's excess at the fewest exits, nats.
    """
    needed = math.ceil(largest / nats) if method == "crc" and nats else fewest_units(nats, largest, delta)
    if needed is not None and units < needed:
        return f"nothing can be shown with {units} calibration units, were they perfect: at least {needed} are needed"
    return (
        f"even the fewest exits are not shown to stay within the budget on {units} calibration units: allow a larger "
        f"increase, evaluate on more text, or train a better exit"
    )


def counted(clipped: float) -> tuple[str, ...]:
    """Return a note if the excess of some units is above the cap."""
    if not clipped:
        return ()
    return (
        f"the excess of {clipped:.1%} of the units is above what it counts as at most: the promise is of the latter",
    )


def other_text(in_pieces: Violations, budget: float, allowed: float | None) -> tuple[str, ...]:
    """Return a note if the promise is not kept from one part of the text to another.

    Args:
        allowed: largest rate of violations at which it is kept; None: it is kept if the mean excess is within `budget`.
    """
    kept = in_pieces.mean_excess <= budget if allowed is None else in_pieces.rate <= allowed
    if kept:
        return ()
    return (
        f"do not count on the promise for text of other subjects: calibrated on one piece of this text and tested on "
        f"the rest, it was broken in {in_pieces.rate:.0%}, as the text does not stay alike",
    )


def alike(correlation: float, units: int) -> tuple[str, ...]:
    """Return a note if neighbouring units are too similar to be exchangeable, beyond chance."""
    if correlation < max(ALIKE, 2 / math.sqrt(units)):
        return ()
    return (
        f"neighbouring units are alike (correlation {correlation:.2f}), so there are fewer of them than it seems; "
        f"larger ones (--unit-windows) help as far as that falls",
    )


def mismatch(measured: float, worked_out: float) -> tuple[str, ...]:
    """Return a note if the run's measured excess loss differs from the computed one; both in nats."""
    if abs(measured - worked_out) < MISMATCH:
        return ()
    return (
        f"the promise is not about what this run does: with its own thresholds it measured {ppl_change(measured):+z.2%}"
        f" PPL over all blocks, where tokens that go through every block give {ppl_change(worked_out):+z.2%}; its "
        f"exited tokens leave other states behind for the others to attend to",
    )
