"""What Inspect draws of the exit that is moved: the histogram of its signal, and the loss by its exit rate."""

from rich.text import Text

from core.events import Threshold
from eetui.drawing.histogram import histogram
from eetui.drawing.palette import Palette
from eetui.drawing.series import Series
from eetui.inspection.study import Study

LARGEST = 0.005
"""Share of the tokens, those of the largest signal, that a histogram may leave out."""
NOW, OWN = "◉", "○"


def signal_histogram(study: Study, width: int, height: int, style: Palette) -> Text:
    """Draw the signals of the tokens that arrive at the selected exit, and its threshold."""
    counts = study.histogram()
    drawn_counts = _without_tail(counts)
    blocks = study.now.outcome.blocks[study.block :]
    arriving = sum(block.tokens for block in blocks)
    threshold = study.now.thresholds[study.block]
    found = Threshold("", study.block, threshold, arriving, arriving - blocks[0].tokens, drawn_counts)
    head = Text.assemble((f"signal after block {study.block}: hard tokens go on", "bold"), no_wrap=True)
    if beyond := sum(counts) - sum(drawn_counts):
        head.append(f"; {beyond / sum(counts):.1%} lie further right", "dim")
    return head.append("\n").append_text(histogram(found, width, height - 1, style))


def rate_label(study: Study) -> str:
    """Label the curve's x axis."""
    return "exit rate" if study.table.exits == 1 else f"exit rate of block {study.block}"


def curve_series(study: Study) -> list[Series]:
    """Loss by exit rate, the run's own place, and the present one."""
    curve = study.curve()
    points = [("own", study.own.outcome, OWN, 2), ("now", study.now.outcome, NOW, 1)]
    return [Series("what if", curve.rates.tolist(), curve.losses.tolist(), 0)] + [
        Series(name, [outcome.exit_rate(study.block)], [outcome.loss], colour, "scatter", sign)
        for name, outcome, sign, colour in points
    ]


def curve_sentence(study: Study) -> str:
    """Say in a sentence what a curve would show, where it does not fit."""
    now = study.now.outcome
    return f"PPL {now.ppl:.2f} at {rate_label(study)} {now.exit_rate(study.block):.1%}"


def _without_tail(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the largest few of a thousand values, which would spread over most of [0, 1]."""
    kept, total = 0, sum(counts)
    for index, count in enumerate(counts):
        kept += count
        if kept >= total * (1 - LARGEST):
            return counts[: index + 1] + (0,) * (len(counts) - index - 1)
    return counts
