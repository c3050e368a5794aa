"""Groups of runs as tables for a terminal, Markdown, CSV or JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.text import Text

from core.intervals import LEAST_P
from core.metrics import Metric
from eetui.compare.groups import Grouping, Pair
from eetui.compare.sheets import Sheet
from eetui.compare.tables_text import drawn_sheet, markdown_sheet
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.formats import csv_text, json_text, markdown
from eetui.drawing.harmless import lines, one_line

NOISE = "·"
GROUPS_TITLE = "Groups: evaluation split, all tokens; mean ± deviation over n seeds"
PAIRS_TITLE = "Pairs: difference in loss, nats"
LEAST_SHOWN = 1e-4
PAIR_HEADS = ("", "nats", "95% interval", "p (Holm)", "", "seeds to settle it")


def as_tables(grouping: Grouping) -> RenderableType:
    """Draw the groups and their pairs for a terminal."""
    parts = [drawn_sheet(sheet) for sheet in _sheets(grouping)]
    return Lines(
        *parts, *(Text(lines(line), style="dim") for line in legend_of(grouping)), *map(Text, _notes(grouping))
    )


def as_markdown(grouping: Grouping) -> str:
    """Write pipe tables, then what their figures mean and the notes."""
    written = [line for sheet in _sheets(grouping) for line in markdown_sheet(sheet)]
    return "\n".join([*written, *(f"- {markdown(line)}" for line in (*legend_of(grouping), *_notes(grouping)))])


def _notes(grouping: Grouping) -> Iterator[str]:
    return (lines(f"! {note}") for note in grouping.notes)


def _sheets(grouping: Grouping) -> Iterator[Sheet]:
    rows = tuple(
        tuple(
            map(
                one_line,
                (
                    *group.values,
                    str(len(group.seeds)),
                    *(figure(group.figures.get(metric), metric.unit) for metric in grouping.metrics),
                ),
            )
        )
        for group in grouping.groups
    )
    heads = (*map(one_line, grouping.keys), "n", *(head_of(metric) for metric in grouping.metrics))
    yield Sheet(GROUPS_TITLE, heads, rows)
    if grouping.pairs:
        over = kinds_of(grouping)
        heads = PAIR_HEADS if len(over) < 2 else (*PAIR_HEADS, "over")
        pairs = tuple(
            (*_pair_cells(grouping, pair), *([kind_of(pair)] if len(over) > 1 else [])) for pair in grouping.pairs
        )
        yield Sheet(f"{PAIRS_TITLE}{', over ' + over[0] if len(over) == 1 else ''}", heads, pairs)


def head_of(metric: Metric) -> str:
    """Return the heading of a metric's column."""
    column = metric.list_column
    return column.head if column and column.head else metric.label


def kinds_of(grouping: Grouping) -> list[str]:
    """Return what the intervals are over."""
    return sorted({pair.interval.kind for pair in grouping.pairs if pair.interval})


def kind_of(pair: Pair) -> str:
    """Return what the interval of a pair is over; nothing where it has none."""
    return pair.interval.kind if pair.interval else ""


def _pair_cells(grouping: Grouping, pair: Pair) -> tuple[str, ...]:
    name = one_line(name_of(grouping, pair))
    if pair.interval is None or pair.p is None:
        return name, MISSING, one_line(f"not compared: {pair.reason}"), "", "", ""
    found = pair.interval
    p = f"<{LEAST_SHOWN}" if pair.p < LEAST_SHOWN else f"{pair.p:.4f}"
    interval = f"[{found.low:+z.4f}, {found.high:+z.4f}]"
    return name, f"{found.mean:+z.4f}", interval, p, " " if pair.clear else NOISE, str(pair.needed or "")


def name_of(grouping: Grouping, pair: Pair) -> str:
    """Return the name of a pair: first group − second."""
    return f"{grouping.groups[pair.first].title} − {grouping.groups[pair.second].title}"


def legend_of(grouping: Grouping) -> Iterator[str]:
    """Yield what signs and columns of the pairs mean."""
    compared = sum(pair.p is not None for pair in grouping.pairs)
    if compared:
        yield (
            f"{NOISE} may be noise: p ≥ 0.05 after Holm's correction for {compared} "
            f"{'pair' if compared == 1 else 'pairs'}. Each interval is of its pair alone."
        )
    if any(pair.needed for pair in grouping.pairs):
        yield (
            "Seeds to settle it: how many each group needs for a difference of this size to be clear with a "
            "probability of 80%; an order of magnitude where there are few."
        )


def as_csv(grouping: Grouping) -> str:
    """Write one line per figure of each group, and one per pair: unrounded."""
    return csv_text(_csv_rows(grouping)).rstrip("\n")


def _csv_rows(grouping: Grouping) -> Iterator[Sequence[object]]:
    yield [
        "table", *grouping.keys, *(f"against_{key}" for key in grouping.keys),
        "metric", "mean", "deviation", "n", "low", "high", "over", "p", "clear", "seeds_needed", "reason",
    ]  # fmt: skip
    none = [""] * len(grouping.keys)
    for group in grouping.groups:
        for metric, value in group.figures.items():
            deviation = "" if value.deviation is None else value.deviation
            yield ["group", *group.values, *none, metric.key, value.mean, deviation, len(group.seeds), *[""] * 7]
    for pair in grouping.pairs:
        sides = [*grouping.groups[pair.first].values, *grouping.groups[pair.second].values]
        found = pair.interval
        figures = [found.low, found.high, found.kind, _p(pair), int(pair.clear)] if found else [""] * 5
        needed = "" if pair.needed is None else str(pair.needed)
        yield ["pair", *sides, "loss", found.mean if found else "", "", "", *figures, needed, pair.reason]


def _p(pair: Pair) -> float | None:
    return None if pair.p is None else max(pair.p, LEAST_P)


def as_json(grouping: Grouping) -> str:
    """Write everything, unrounded."""
    return json_text(
        {
            "group_by": list(grouping.keys),
            "groups": [
                {
                    "values": dict(zip(grouping.keys, group.values, strict=True)),
                    "runs": group.runs,
                    "n": len(group.seeds),
                    "seeds": list(group.seeds),
                    "figures": {
                        metric.key: {"mean": value.mean, "deviation": value.deviation}
                        for metric, value in group.figures.items()
                    },
                }
                for group in grouping.groups
            ],
            "pairs": [_json_pair(pair) for pair in grouping.pairs],
            "notes": list(grouping.notes),
        }
    )


def _json_pair(pair: Pair) -> dict[str, Any]:
    """Return a pair as data; `first` and `second` are places in `groups`."""
    data: dict[str, Any] = {"first": pair.first, "second": pair.second}
    if pair.interval is None:
        return data | {"not_compared": pair.reason}
    found, needed = pair.interval, pair.needed
    data |= {"nats": found.mean, "low": found.low, "high": found.high, "over": found.kind}
    data |= {"p_holm": _p(pair), "clear": pair.clear}
    if needed is None:
        return data
    return data | {"seeds_needed": needed.seeds, "seeds_needed_text": str(needed)}
