"""What Inspect draws of the exit that is moved: the histogram of its signal, and the loss by its exit rate."""

from rich.text import Text

from core.config.derived import COST_NAMES
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


def x_label(study: Study) -> str:
    """Label the curve's x axis."""
    if study.moves_price:
        return f"{COST_NAMES[study.prices.cost]} saved"
    return "exit rate" if study.table.exits == 1 else f"exit rate of block {study.block}"


def curve_series(study: Study) -> list[Series]:
    """Return the curves by savings where the price moves, else loss by the exit rate of the block that is moved."""
    return _by_savings(study) if study.moves_price else _by_rate(study)


def _by_rate(study: Study) -> list[Series]:
    """Loss by exit rate, the run's own place, and the present one."""
    curve = study.curve()
    places = (study.own.outcome.exit_rate(study.block), study.now.outcome.exit_rate(study.block))
    return [Series("what if", curve.rates.tolist(), curve.losses.tolist(), 0), *_places(study, places)]


def _by_savings(study: Study) -> list[Series]:
    """The static depths behind, early exit at every rate and at every price, and both places; places alone at first."""
    places = _places(study, (study.prices.saved(study.own), study.prices.saved(study.now)))
    if study.curves is None:
        return places
    rate, points = study.curves.rate, sorted(study.curves.price.points, key=lambda point: point.savings)
    return [
        Series("static depths", rate.savings.tolist(), rate.line.tolist(), 3, "behind"),
        Series("one rate", rate.savings.tolist(), rate.loss.tolist(), 4),
        Series("one price", [point.savings for point in points], [point.loss for point in points], 0, "thick"),
        *places,
    ]


def _places(study: Study, x: tuple[float, float]) -> list[Series]:
    """The run's own place, and the present one."""
    own, now = x
    return [
        Series("own", [own], [study.own.outcome.loss], 2, "scatter", OWN),
        Series("now", [now], [study.now.outcome.loss], 1, "scatter", NOW),
    ]


def curve_sentence(study: Study) -> str:
    """Say in a sentence what a curve would show, where it does not fit."""
    now = study.now.outcome
    at = study.prices.saved(study.now) if study.moves_price else now.exit_rate(study.block)
    return f"PPL {now.ppl:.2f} at {x_label(study)} {at + 0.0:.1%}"


def _without_tail(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the largest few of a thousand values, which would spread over most of [0, 1]."""
    kept, total = 0, sum(counts)
    for index, count in enumerate(counts):
        kept += count
        if kept >= total * (1 - LARGEST):
            return counts[: index + 1] + (0,) * (len(counts) - index - 1)
    return counts
