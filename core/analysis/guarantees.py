"""What a calibration promises, and under which conditions, in sentences."""

import math

from core.analysis.risk_control import Violations, fewest_units

ALIKE = 0.1
"""Correlation of neighbouring units from which on larger ones are advised."""
MISMATCH = 0.002
"""Nats between early exit as measured and as worked out, from which on the reader is warned."""
NAMES = {"ltt": "Learn then Test", "crc": "conformal risk control"}
NEVER = "No threshold is safe, so no token may leave early: PPL is that of all blocks, and nothing is saved."
EVALUATION_TOKENS = (
    "calibrated on a part of the evaluation split: a PPL of that split is no test of these thresholds, save that of "
    "the test half"
)


def budget(method: str, increase: float, delta: float, counted_at_most: float) -> str:
    """The promise of a risk budget."""
    within = f"early exit raises the PPL of text like this by at most {increase:.2%} ({math.log1p(increase):.4f} nats)"
    often = (
        f"With probability at least {1 - delta:.0%} over the choice of calibration units"
        if method == "ltt"
        else "On average over the choice of calibration units"
    )
    return (
        f"{often}, {within}, as worked out from tokens that go through every block; a unit's excess counts as at most "
        f"{counted_at_most:.3g} nats ({NAMES[method]})."
    )


def exit_rate(rate: float) -> str:
    """What an exit rate promises: nothing."""
    return (
        f"At each exit {rate:.0%} of the calibration tokens that arrive leave: their quantile, with no promise about "
        f"other tokens or about the loss."
    )


def nothing_safe(method: str, nats: float, largest: float, delta: float, units: int) -> str:
    """Why no threshold was found safe, and what to do.

    Args:
        largest: what a unit's excess is counted as at most at the fewest exits, nats.
    """
    needed = math.ceil(largest / nats) if method == "crc" and nats else fewest_units(nats, largest, delta)
    if needed is not None and units < needed:
        return f"nothing can be shown with {units} calibration units, were they perfect: at least {needed} are needed"
    return (
        f"even the fewest exits are not shown to stay within the budget on {units} calibration units: allow a larger "
        f"increase, evaluate on more text, or train a better exit"
    )


def counted(clipped: float) -> tuple[str, ...]:
    """A note where the excess of some units is counted as less than it is."""
    if not clipped:
        return ()
    return (
        f"the excess of {clipped:.1%} of the units is above what it counts as at most: the promise is of the latter",
    )


def other_text(in_pieces: Violations, budget: float, allowed: float | None) -> tuple[str, ...]:
    """A note where the promise is not kept from one part of the text to another.

    Args:
        allowed: rate of violations up to which it is kept; None: it is about the mean excess, and holds up to `budget`.
    """
    kept = in_pieces.mean_excess <= budget if allowed is None else in_pieces.rate <= allowed
    if kept:
        return ()
    return (
        f"do not count on the promise for text of other subjects: calibrated on one piece of this text and tested on "
        f"the rest, it was broken in {in_pieces.rate:.0%}, as the text does not stay alike",
    )


def alike(correlation: float, units: int) -> tuple[str, ...]:
    """A note where neighbouring units are too much alike to be exchangeable, beyond what chance would do."""
    if correlation < max(ALIKE, 2 / math.sqrt(units)):
        return ()
    return (
        f"neighbouring units are alike (correlation {correlation:.2f}), so there are fewer of them than it seems; "
        f"larger ones (--unit-windows) help as far as that falls",
    )


def mismatch(measured: float, worked_out: float) -> tuple[str, ...]:
    """A note where the run's own early exit was measured to lose something else than is worked out here, in nats."""
    if abs(measured - worked_out) < MISMATCH:
        return ()
    return (
        f"the promise is not about what this run does: with its own thresholds it measured {math.expm1(measured):+.2%} "
        f"PPL over all blocks, where tokens that go through every block give {math.expm1(worked_out):+.2%}; its exited "
        f"tokens leave other states behind for the others to attend to",
    )
