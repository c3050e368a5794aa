"""Quality against layer savings: series of the runs' curves, a table of their areas, and the note below."""

from collections.abc import Iterable, Iterator, Mapping

from rich.text import Text

from eetui.compare.comparison import Comparison
from eetui.compare.savings_curves import Furthest, SavingsCurve, Tried
from eetui.compare.savings_gaps import better_before, curve_notes, curve_title
from eetui.compare.screen_text import BAND_MEANS, savings_note, savings_series
from eetui.drawing.cells import columns
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.series import Series, mean_band
from eetui.drawing.themes import hue

ROWS = 8
"""Most curves listed in the table."""


def series(comparison: Comparison, curves: Mapping[int, SavingsCurve]) -> list[Series]:
    """Return each run's curves in its column's hue: static depths behind, one exit rate, one price; points on top.

    Over several seeds, the bands of the latter two lie behind them.
    """
    bands = [
        band
        for index, curve in curves.items()
        for each in (curve, curve.priced)
        if each.deviation
        for band in mean_band(each.savings, each.loss, each.deviation, index)
    ]
    static = [Series("", curve.savings, curve.line, index, "behind") for index, curve in curves.items()]
    early = [Series("", curve.savings, curve.loss, index) for index, curve in curves.items()]
    priced = [Series("", curve.priced.savings, curve.priced.loss, index, "thick") for index, curve in curves.items()]
    return [*bands, *static, *early, *priced, *savings_series(comparison)]


def table(comparison: Comparison, curves: Mapping[int, SavingsCurve], width: int, *, dark: bool) -> Text:
    """Draw one line per run: how far, and at how many exit rates and prices, it lies below its static depths."""
    if not curves:
        return Text()
    shown = list(curves.items())[:ROWS]
    heads = ["against static depths", "nats below", "clearly at", "by price", "clearly at", "furthest"]
    lines = [
        [
            f"{hue(index).sign} {curve_title(comparison.columns[index], curve)}",
            MISSING if curve.gain is None else figure(curve.gain, "nats"),
            f"{figure(curve.beats, 'share')} of rates",
            figure(curve.priced.gain, "nats"),
            f"{figure(curve.priced.beats, 'share')} of prices",
            _furthest(curve.priced.furthest),
        ]
        for index, curve in shown
    ]
    text = columns([heads, *lines], width)
    for number, (index, _) in enumerate(shown, start=1):
        start = sum(len(line) + 1 for line in text.plain.split("\n")[:number])
        text.stylize(hue(index).on(dark), start, start + 1)
    if len(curves) > len(shown):
        text.append(f"\nand {len(curves) - len(shown)} more", "dim")
    return text


def note(comparison: Comparison, curves: Mapping[int, SavingsCurve], tried: Tried, *, busy: bool) -> str:
    """Write the runs' savings and PPLs in words, the meaning of the lines, and what has no curve."""
    words = [savings_note(comparison)]
    if curves:
        words.append(
            "Lines: every exit rate, worked out; thick: every price; dotted: the static depths, the line to beat."
        )
    if any(curve.deviation for curve in curves.values()):
        words.append(BAND_MEANS)
    if deferred := ", ".join(_deferred(comparison, curves)):
        words.append(
            f"Of {deferred} (exited_state=deferred) the lines' losses are exact, and their savings a bound: they count "
            "the layers after each exit, and only those were saved that no later token needed."
        )
    words += (f"{each}." for each in (*curve_notes(comparison, tried), *better_before(comparison, tried)))
    return " ".join([*words, "Working out the curves …"] if busy else words)


def _deferred(comparison: Comparison, curves: Iterable[int]) -> Iterator[str]:
    """Yield the titles of those whose tokens that left run on for later ones."""
    for column in (comparison.columns[index] for index in curves):
        if any(run.config.get("exit.exited_state") == "deferred" for run in column.runs):
            yield column.title


def _furthest(point: Furthest | None) -> str:
    """Write how far the best price lies below the static depths, with its interval, and what it saves."""
    if point is None:
        return MISSING
    around = point.interval and f" [{-point.interval.high:z.4f}, {-point.interval.low:z.4f}]"
    return f"{-point.above:z.4f}{around or ''} at {point.savings:.1%}"
