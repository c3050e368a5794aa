"""One run under inspection: its tokens, its own thresholds, and those that it is looked at with."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.analysis.exit_quality import Meaning
from core.analysis.price_curve import PricePoint
from core.analysis.run_quality import signal_meaning
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.analysis.token_table import Booleans, TokenTable
from core.analysis.what_if import ExitCurve, Setting, WhatIf
from core.config.derived import exit_count
from core.errors import UsageError
from core.events import Measured
from core.pricing.thresholds import NEVER, is_on
from core.state import LIVE
from core.store.reader import Reader
from eetui.inspection.prices import STEPS, Curves, Prices, moved_price, prices_of
from eetui.inspection.token_layout import Looks
from eetui.summary.launch_command import launch_command

BINS = 200
USUAL_STEP = 0.01
"""Step of a threshold that is not a small one."""


class Study:
    """The thresholds of one run, moved about: one by one, or all of them by their price. `now` follows at once."""

    def __init__(
        self,
        meaning: Meaning,
        what_if: WhatIf,
        thresholds: tuple[float, ...],
        measured: Measured | None,
        looks: Looks,
        prices: Prices,
        bytes_per_token: float | None = None,
        exited_state: str = "input",
    ) -> None:
        self.meaning, self.what_if, self.measured, self.looks = meaning, what_if, measured, looks
        self.prices, self.bytes_per_token, self.exited_state = prices, bytes_per_token, exited_state
        self.own = what_if.setting(thresholds)
        self.now = self.own
        self.block = 0
        """The block whose exit is moved."""
        self.moves_price = prices.found is not None
        """Whether moving is of the price, and not of one threshold."""
        self.price = self.own_price
        """Price that set the present thresholds; None where one was moved by itself."""
        self.curves: Curves | None = None
        """Set once they are worked out."""
        self._compared: tuple[Setting, PricePoint] | None = None
        self._curves: dict[tuple[float, ...], ExitCurve] = {}
        self._histograms: dict[tuple[float, ...], tuple[int, ...]] = {}

    @property
    def table(self) -> TokenTable:
        return self.what_if.table

    @property
    def own_price(self) -> float | None:
        """Price that set the run's own thresholds."""
        return self.prices.found.price if self.prices.found else None

    def move(self, step: float) -> None:
        """Move the threshold up or down, within [0, 1], and beyond 1 to off."""
        before = self.now.thresholds[self.block]
        after = before + step if is_on(before) else 1.0 if step < 0 else NEVER
        self._set(NEVER if before == 1 < after else min(1.0, max(0.0, after)) if is_on(before) else after)

    def move_by(self, step: float) -> None:
        """Move the threshold by a step, or the price by one that is as usual or as small."""
        if self.moves_price:
            self.move_price(math.copysign(STEPS if abs(step) >= USUAL_STEP else 1, step))
        else:
            self.move(step)

    def switch(self) -> None:
        """Move the price from now on, or one threshold."""
        self.moves_price = not self.moves_price

    def move_price(self, steps: float) -> None:
        """Move the price by so many smallest steps, from the one nearest in savings if there is none; all follow."""
        price = self.price
        if price is None:
            price = self.prices.near(self.prices.saved(self.now))
        self.price = moved_price(price, steps)
        self.now = self.what_if.setting(self.prices.thresholds_at(self.price))

    def against_static(self) -> PricePoint:
        """Compare the present thresholds with the static depths."""
        if self._compared is None or self._compared[0] is not self.now:
            self._compared = self.now, self.prices.against_static(self.now)
        return self._compared[1]

    def move_rate(self, step: float) -> None:
        """Move the share of arriving tokens that leave up or down, past tied signals."""
        before = self.now.outcome.exit_rate(self.block)
        wanted = min(1.0, max(0.0, before + step))
        self._set(self.what_if.threshold_for(self.block, wanted, self.now.thresholds))
        if step < 0 < before <= self.now.outcome.exit_rate(self.block):
            self._set(float(np.nextafter(np.float32(self.now.thresholds[self.block]), np.float32(2))))

    def reset(self) -> None:
        """Return to the run's own thresholds."""
        self.now, self.price = self.own, self.own_price

    def select(self, step: int) -> None:
        """Select the next exit, or the one before."""
        self.block = max(0, min(self.table.exits - 1, self.block + step))

    def _set(self, threshold: float) -> None:
        thresholds = list(self.now.thresholds)
        thresholds[self.block] = threshold
        self.price = None
        self.now = self.what_if.setting(thresholds)

    @property
    def correct_now(self) -> Booleans:
        """Whether each token is predicted right where it leaves."""
        return self.what_if.correct_where(self.now.outcome)

    def histogram(self) -> tuple[int, ...]:
        """Signals of the tokens that arrive at the exit that is moved; they depend on the earlier thresholds only."""
        key = (self.block, *self.now.thresholds[: self.block])
        if key not in self._histograms:
            bins = self.what_if.histogram(self.block, self.now.thresholds, BINS)
            self._histograms[key] = tuple(bins.tolist())
        return self._histograms[key]

    def curve(self) -> ExitCurve:
        """Loss by the rate of the exit that is moved; it depends on the other thresholds only."""
        others = tuple(NEVER if block == self.block else each for block, each in enumerate(self.now.thresholds))
        if others not in self._curves:
            self._curves[others] = self.what_if.curve(self.block, self.now.thresholds)
        return self._curves[others]

    def too_early(self, place: int, direction: int) -> int | None:
        """Find the next token that left early and wrong though the last block was right, wrapping at the end."""
        found = np.flatnonzero(self.what_if.left_too_early(self.now.outcome))
        if not len(found):
            return None
        if direction > 0:
            return int(found[np.searchsorted(found, place, "right") % len(found)])
        return int(found[np.searchsorted(found, place, "left") - 1])


def load(reader: Reader, row: Mapping[str, Any]) -> Study:
    """Open a run for inspection.

    Raises:
        UsageError: there is nothing to inspect: why, and what to do.
    """
    if row["status"] in LIVE:
        raise UsageError(
            "The statistics of every token come with the evaluation, at the end of the run: wait for it here."
        )
    run = stored_run(reader, row["id"])
    layers = run.config.model.block_layers
    if len(layers) < 2 and run.config.model.imported:
        raise UsageError("The run was logged (eetui.log), without its tokens: eetui import makes a run of those.")
    if len(layers) < 2:
        raise UsageError("The run has a single block, so no token can leave early and there is nothing to move.")
    if not exit_count(run.config.protocol, len(layers)):
        raise UsageError("The run was trained without exits, so no token leaves early and there is nothing to move.")
    try:
        table, text = evaluated_tokens(reader, run)
    except UsageError:
        raise UsageError(_why_no_statistics(row)) from None
    looks = Looks.of(text.vocabulary, words=row["record"]["tokenizer"] == "word")
    prices = prices_of(run, table)
    what_if, bytes_per_token = WhatIf(table, layers), run.state.eval_bytes_per_token
    return Study(
        signal_meaning(run),
        what_if,
        run.thresholds,
        run.state.final,
        looks,
        prices,
        bytes_per_token,
        run.config.exit.exited_state,
    )


def _why_no_statistics(row: Mapping[str, Any]) -> str:
    if row["status"] in ("interrupted", "failed"):
        return "The run ended before its evaluation, so there are no statistics of its tokens: resume it first."
    return (
        "The store has no statistics of this run's tokens: it was trained before eetui kept them, or they were left "
        f"out. Train it again to look into it:\n\n{launch_command(row)}"
    )
