"""Text and series of the Compare screen around its tables."""

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from core.formulas import perplexity
from eetui.compare.advice import main_fingerprint
from eetui.compare.charts import points
from eetui.compare.comparison import Comparison
from eetui.compare.tables_text import closing_lines
from eetui.drawing.figures import figure, number_of
from eetui.drawing.series import Series, mean_band

STATIC_SIGN = "◦"
BASELINE = "baseline"
BAND_MEANS = "Bands: mean ± standard deviation over seeds."


def title_line(comparison: Comparison, runs: int, group_seeds: bool, only_changed: bool) -> Text:
    """Write how many runs are compared, and how."""
    facts = [number_of(runs, "run")]
    if any(len(column.runs) > 1 for column in comparison.columns):
        facts.append("seeds joined: mean ± deviation")
    elif not group_seeds:
        facts.append("each seed")
    if comparison.baseline is not None:
        facts.append(f"against {comparison.columns[comparison.baseline].title}")
    if only_changed:
        facts.append("rows that differ")
    return Text.assemble(("Compare", "bold"), ("  " + " · ".join(facts), "dim"))


def subtitles(comparison: Comparison) -> tuple[str, ...]:
    """Return the line below each column's title: its seed or seeds, or that it is the baseline or unfinished."""
    return tuple(_subtitle(comparison, index) for index in range(len(comparison.columns)))


def _subtitle(comparison: Comparison, index: int) -> str:
    column = comparison.columns[index]
    if index == comparison.baseline:
        return BASELINE
    if column.runs[0].status != "finished":
        return column.runs[0].status
    return f"seed {column.runs[0].seed}" if len(column.runs) == 1 else f"{len(column.runs)} seeds"


def curve_series(comparison: Comparison, block: int) -> list[Series]:
    """Return the loss in nats after each epoch, one series per column; for several seeds, their mean and its band."""
    bands, means = list[Series](), list[Series]()
    for index, column in enumerate(comparison.columns):
        curve = column.curve(block)
        epochs, mean = list(map(float, curve)), [value.mean for value in curve.values()]
        if curve:
            bands += mean_band(epochs, mean, [value.deviation for value in curve.values()], index)
            means.append(Series(column.title, epochs, mean, index, "marked"))
    return [*bands, *means]


def curves_note(comparison: Comparison, block: int, *, as_ppl: bool) -> str:
    """Write the best epoch of each curve, the curves that are identical, and the keys."""
    curves = {column.title: column.curve(block) for column in comparison.columns}
    lowest = {title: min(value.mean for value in curve.values()) for title, curve in curves.items() if curve}
    best = [
        f"{title} {figure(perplexity(loss), 'ppl') if as_ppl else figure(loss, 'nats')}"
        for title, loss in lowest.items()
    ]
    groups: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for title, curve in curves.items():
        groups.setdefault(tuple((epoch, value.mean) for epoch, value in curve.items()), []).append(title)
    same = [" = ".join(titles) for losses, titles in groups.items() if losses and len(titles) > 1]
    lines = [f"Best: {', '.join(best) or 'no epoch yet'}.", *(f"The same curve: {titles}." for titles in same)]
    if block and any(run.config["protocol"] != "frozen" for column in comparison.columns for run in column.runs):
        lines.append("Each is of its own hard tokens.")
    if any(value.deviation is not None for curve in curves.values() for value in curve.values()):
        lines.append(BAND_MEANS)
    return " ".join([*lines, "[ and ] choose the block, v nats or PPL."])


def savings_series(comparison: Comparison) -> list[Series]:
    """Return early exit of each column as its sign, and the static depths of its models as dots; losses in nats."""
    return [*_series(comparison, early=False), *_series(comparison, early=True)]


def _series(comparison: Comparison, *, early: bool) -> Iterator[Series]:
    found = points(comparison)
    for index, column in enumerate(comparison.columns):
        here = [point for point in found if point.column == index and (point.way == "early exit") == early]
        if here:
            xs, ys = [point.savings.mean for point in here], [math.log(point.ppl.mean) for point in here]
            yield Series(column.title if early else "", xs, ys, index, "scatter", "" if early else STATIC_SIGN)


def savings_note(comparison: Comparison) -> str:
    """Write the scatter in words: each column's place, the meaning of the dots, and the columns not evaluated yet."""
    found = points(comparison)
    places = [
        f"{comparison.columns[point.column].title} {figure(point.ppl.mean, 'ppl')} "
        f"at {figure(point.savings.mean, 'share')}"
        for point in found
        if point.way == "early exit"
    ]
    there, main = {point.column for point in found}, main_fingerprint(comparison.columns)
    waiting = [
        column.title
        for index, column in enumerate(comparison.columns)
        if index not in there and column.fingerprint == main
    ]
    lines = [f"PPL, eval, at layer savings: {', '.join(places) or 'nothing measured yet'}."]
    if any(point.way != "early exit" for point in found):
        lines.append(f"{STATIC_SIGN} static depths of the same models; lower and further right is better.")
    if waiting:
        lines.append(f"Not evaluated yet: {', '.join(waiting)}.")
    return " ".join(lines)


def advice_text(comparison: Comparison) -> RenderableType:
    """Draw recommendation, differences and notes, in the words that `eetui compare` prints."""
    lines: list[RenderableType] = []
    for line in closing_lines(comparison):
        if line.startswith("\n"):
            lines += [Text(), Text(line.strip(), "bold")]
        else:
            lines.append(Padding(Text(line.strip()), (0, 0, 0, 2)))
    if not comparison.advice:
        lines += [Text(), Text("Nothing to recommend yet: it takes two evaluated runs on the same tokens.")]
    return Group(*lines[1:])
