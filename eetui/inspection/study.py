"""One run under inspection: its tokens, its own thresholds, and those that it is looked at with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.analysis.exit_quality import Meaning
from core.analysis.run_quality import signal_meaning
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.analysis.token_table import Booleans, TokenTable
from core.analysis.what_if import ExitCurve, WhatIf
from core.config.derived import exit_count
from core.errors import UsageError
from core.events import Measured
from core.pricing.thresholds import NEVER
from core.state import LIVE
from core.store.reader import Reader
from eetui.inspection.token_layout import Looks
from eetui.summary.launch_command import launch_command

BINS = 200


class Study:
    """The thresholds of one run, moved about. `now` follows at once."""

    def __init__(
        self,
        meaning: Meaning,
        what_if: WhatIf,
        thresholds: tuple[float, ...],
        measured: Measured | None,
        looks: Looks,
    ) -> None:
        self.meaning, self.what_if, self.measured, self.looks = meaning, what_if, measured, looks
        self.own = what_if.setting(thresholds)
        self.now = self.own
        self.block = 0
        """The block whose exit is moved."""
        self._curves: dict[tuple[float, ...], ExitCurve] = {}
        self._histograms: dict[tuple[float, ...], tuple[int, ...]] = {}

    @property
    def table(self) -> TokenTable:
        return self.what_if.table

    def move(self, step: float) -> None:
        """Move the threshold up or down, within [0, 1]."""
        self._set(min(1.0, max(0.0, self.now.thresholds[self.block] + step)))

    def move_rate(self, step: float) -> None:
        """Move the share of arriving tokens that leave up or down, past tied signals."""
        before = self.now.outcome.exit_rate(self.block)
        wanted = min(1.0, max(0.0, before + step))
        self._set(self.what_if.threshold_for(self.block, wanted, self.now.thresholds))
        if step < 0 < before <= self.now.outcome.exit_rate(self.block):
            self._set(float(np.nextafter(np.float32(self.now.thresholds[self.block]), np.float32(2))))

    def reset(self) -> None:
        """Return to the run's own thresholds."""
        self.now = self.own

    def select(self, step: int) -> None:
        """Select the next exit, or the one before."""
        self.block = max(0, min(self.table.exits - 1, self.block + step))

    def _set(self, threshold: float) -> None:
        thresholds = list(self.now.thresholds)
        thresholds[self.block] = threshold
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
    if len(layers) < 2:
        raise UsageError("The run has a single block, so no token can leave early and there is nothing to move.")
    if not exit_count(run.config.protocol, len(layers)):
        raise UsageError("The run was trained without exits, so no token leaves early and there is nothing to move.")
    try:
        table, text = evaluated_tokens(reader, run)
    except UsageError:
        raise UsageError(_why_no_statistics(row)) from None
    looks = Looks.of(text.vocabulary, words=row["record"]["tokenizer"] == "word")
    return Study(signal_meaning(run), WhatIf(table, layers), run.thresholds, run.state.final, looks)


def _why_no_statistics(row: Mapping[str, Any]) -> str:
    if row["status"] in ("interrupted", "failed"):
        return "The run ended before its evaluation, so there are no statistics of its tokens: resume it first."
    return (
        "The store has no statistics of this run's tokens: it was trained before eetui kept them. "
        f"Train it again to look into it:\n\n{launch_command(row)}"
    )
