"""One run under inspection: its statistics, the thresholds as they are moved, and what the screen shows of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.text import Text

from core.analysis.run_quality import block_layers
from core.analysis.what_if import Booleans, Curve, Inspection, Outcome, Setting, inspection, own_thresholds
from core.events import Measured, Threshold
from core.exits._facts import MethodFacts, run_facts
from core.state import RunState
from core.store.reader import Reader
from eetui.drawing.histogram import histogram
from eetui.drawing.palette import Palette
from eetui.drawing.series import Series
from eetui.inspection import text as drawn
from eetui.inspection.token_layout import Looks
from eetui.runs.launch_command import launch_command

BINS = 200
LARGEST = 0.005
"""Share of the tokens, those of the largest signal, that a histogram may leave out."""
NOW, OWN = "◉", "○"


class Study:
    """The thresholds of one run, moved about. `now` follows at once."""

    def __init__(
        self,
        title: Text,
        method: MethodFacts,
        data: Inspection,
        thresholds: Sequence[float],
        measured: Measured | None,
        looks: Looks,
    ) -> None:
        self.title, self.method, self.data, self.measured, self.looks = title, method, data, measured, looks
        self.own = Setting(tuple(thresholds), data.what_if(thresholds))
        self.now = self.own
        self.block = 0
        """The block whose exit is moved."""
        self._curves: dict[tuple[float, ...], Curve] = {}
        self._histograms: dict[tuple[float, ...], tuple[int, ...]] = {}

    # Moving

    def move(self, step: float) -> None:
        """The threshold up or down, within [0, 1]."""
        self._set(min(1.0, max(0.0, self.now.thresholds[self.block] + step)))

    def move_rate(self, step: float) -> None:
        """The share of those who arrive that leaves, up or down; past signals that tie."""
        before = self.now.outcome.exit_rate(self.block)
        wanted = min(1.0, max(0.0, before + step))
        self._set(self.data.threshold_for(self.block, wanted, self.now.thresholds))
        if step < 0 < before <= self.now.outcome.exit_rate(self.block):
            self._set(float(np.nextafter(np.float32(self.now.thresholds[self.block]), np.float32(2))))

    def reset(self) -> None:
        """To the run's own thresholds."""
        self.now = self.own

    def select(self, step: int) -> None:
        """The next exit, or the one before."""
        self.block = max(0, min(self.data.exits - 1, self.block + step))

    def _set(self, threshold: float) -> None:
        thresholds = list(self.now.thresholds)
        thresholds[self.block] = threshold
        self.now = Setting(tuple(thresholds), self.data.what_if(thresholds))

    # Showing

    @property
    def correct_now(self) -> Booleans:
        """Whether each token is predicted right where it leaves."""
        return self.data.correct_where(self.now.outcome)

    def figures(self, width: int) -> Text:
        """The thresholds, the figures, and what to think of them."""
        return Text("\n").join(
            [
                drawn.threshold_line(self.block, self.now, self.own, self.data.exits),
                drawn.figures_table(self.now.outcome, self.own.outcome, self.measured, self.data, width),
                Text(drawn.honesty(self.own.outcome, self.measured), "dim"),
            ]
        )

    def legend(self, *, dark: bool) -> Text:
        return drawn.legend(len(self.data.loss), dark=dark)

    def token(self, token: int, width: int, *, dark: bool) -> Text:
        return drawn.token_pane(self.data, self.now, self.looks.pieces, token, width, dark=dark)

    def blocks(self, width: int) -> Text:
        return drawn.blocks_table(self.now.outcome, width)

    def histogram(self, width: int, height: int, style: Palette) -> Text:
        """The signals of those who arrive at the exit that is moved, and the threshold."""
        counts = self._counts()
        drawn_counts = _without_tail(counts)
        blocks = self.now.outcome.blocks[self.block :]
        arriving = sum(block.tokens for block in blocks)
        threshold = self.now.thresholds[self.block]
        found = Threshold("", self.block, threshold, arriving, arriving - blocks[0].tokens, drawn_counts)
        head = Text.assemble((f"signal after block {self.block}: hard tokens go on", "bold"), no_wrap=True)
        if beyond := sum(counts) - sum(drawn_counts):
            head.append(f"; {beyond / sum(counts):.1%} lie further right", "dim")
        return head.append("\n").append_text(histogram(found, width, height - 1, style))

    def _counts(self) -> tuple[int, ...]:
        """The histogram; it depends on the earlier thresholds only."""
        key = (self.block, *self.now.thresholds[: self.block])
        if key not in self._histograms:
            bins = self.data.histogram(self.block, self.now.thresholds, BINS)
            self._histograms[key] = tuple(bins.tolist())
        return self._histograms[key]

    @property
    def rate_label(self) -> str:
        """What the curve's x axis is."""
        return "exit rate" if self.data.exits == 1 else f"exit rate of block {self.block}"

    def curve_series(self) -> list[Series]:
        """Loss by exit rate, the run's own place, and the present one."""
        curve = self._curve()
        here, own = self.now.outcome, self.own.outcome
        points = [("own", own, OWN, 2), ("now", here, NOW, 1)]
        return [Series("what if", curve.rates.tolist(), curve.losses.tolist(), 0)] + [
            Series(name, [outcome.exit_rate(self.block)], [outcome.loss], colour, "scatter", sign)
            for name, outcome, sign, colour in points
        ]

    def curve_sentence(self) -> str:
        """In place of a curve that has no room."""
        now: Outcome = self.now.outcome
        return f"PPL {now.ppl:.2f} at {self.rate_label} {now.exit_rate(self.block):.1%}"

    def _curve(self) -> Curve:
        others = tuple(2.0 if block == self.block else each for block, each in enumerate(self.now.thresholds))
        if others not in self._curves:
            self._curves[others] = self.data.curve(self.block, self.now.thresholds)
        return self._curves[others]

    def too_early(self, place: int, direction: int) -> int | None:
        """The next token that left early and wrong though the last block was right, going round at the end."""
        found = np.flatnonzero(self.data.left_too_early(self.now.outcome))
        if not len(found):
            return None
        if direction > 0:
            return int(found[np.searchsorted(found, place, "right") % len(found)])
        return int(found[np.searchsorted(found, place, "left") - 1])


def _without_tail(counts: tuple[int, ...]) -> tuple[int, ...]:
    """All but the largest few of a thousand, which a few tokens may spread over most of [0, 1]."""
    kept, total = 0, sum(counts)
    for index, count in enumerate(counts):
        kept += count
        if kept >= total * (1 - LARGEST):
            return counts[: index + 1] + (0,) * (len(counts) - index - 1)
    return counts


def load(reader: Reader, row: Mapping[str, Any]) -> Study | None:
    """A run's study, if the store has what it takes."""
    if row["status"] in ("queued", "running"):
        return None
    blocks, text = reader.token_statistics(row["id"]), reader.text(row["record"]["fingerprint"])
    state: RunState = reader.state(row["id"])
    thresholds = own_thresholds(state, len(blocks) - 1)
    if len(blocks) < 2 or text is None or thresholds is None:
        return None
    data = inspection(blocks, text, block_layers(row["config"]))
    looks = Looks.of(text.vocabulary, words=row["record"]["tokenizer"] == "word")
    facts = f"{row['method']}, seed {row['seed']}, {row['record']['corpus']}, {data.tokens:,} evaluated tokens"
    return Study(
        Text.assemble(("Inspect ", "bold"), (row["name"], "bold"), (f"  {facts}", "dim")),
        run_facts(row),
        data,
        thresholds,
        state.final,
        looks,
    )


def why_not(row: Mapping[str, Any]) -> str:
    """Why there is nothing to inspect, and what to do."""
    match row["status"]:
        case "queued" | "running":
            return "The statistics of every token come with the evaluation, at the end of the run: wait for it here."
        case "interrupted" | "failed":
            return "The run ended before its evaluation, so there are no statistics of its tokens: resume it first."
    if len(row["config"]["model"]["block_layers"]) < 2:
        return "The run has a single block, so no token can leave early and there is nothing to move."
    return (
        "The store has no statistics of this run's tokens: it was trained before eetui kept them. "
        f"Train it again to look into it:\n\n{launch_command(row)}"
    )
