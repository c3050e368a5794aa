r"""Tables as LaTeX: rules of booktabs, columns of siunitx, whose figures are aligned at the decimal point.

Deviations over seeds are part of the figure (`504.8 \pm 13.4`), intervals have columns of their own. Packages and their
set-up stand in comments at the head. Shares are percent, as their labels say.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.extensions.plugins import with_short_hashes
from core.metrics import Unit, Value
from eetui.compare.advice import loss_intervals
from eetui.compare.comparison import Comparison, Row
from eetui.compare.groups import Grouping, Pair
from eetui.compare.groups_text import (
    GROUPS_TITLE,
    LEAST_SHOWN,
    PAIRS_TITLE,
    head_of,
    kind_of,
    kinds_of,
    legend_of,
    name_of,
)
from eetui.compare.sheets import CONFIG_TITLE, MOST_COLUMNS, titled_tables
from eetui.drawing.harmless import HIDDEN, one_line

PREAMBLE = r"""% \usepackage{booktabs, siunitx}
% \sisetup{separate-uncertainty = true, table-align-uncertainty = true, retain-explicit-plus = true}
% \sisetup{detect-weight = true, mode = text, retain-zero-uncertainty = true}
% bold: best of its metric within the same windows, and all not clearly worse; none where no difference is clear
"""
MISSING = "{--}"
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "×": r"$\times$", "−": r"$-$", "±": r"$\pm$", "≈": r"$\approx$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$",
    "–": "--", "—": "---", "…": r"\dots{}", "★": r"$\star$", HIDDEN: "?",
}  # fmt: skip
"""What LaTeX takes for something else, or older engines don't know."""
ENDS = ("{nats}", r"{95\% low}", r"{95\% high}")
DIGITS: dict[Unit, int] = {"ppl": 2, "share": 2, "bits": 4, "signal": 4, "loss": 4, "nats": 4, "count": 0}


@dataclass(frozen=True)
class Cell:
    """A cell: a figure that siunitx reads, or text in braces.

    Attributes:
        figure, deviation: figures as text; empty where there is none.
        text: what stands there instead of a figure.
    """

    figure: str = ""
    deviation: str = ""
    text: str = ""
    bold: bool = False

    def __str__(self) -> str:
        if not self.figure:
            return f"{{{self.text}}}" if self.text else MISSING
        whole = f"{self.figure} \\pm {self.deviation}" if self.deviation else self.figure
        return f"\\bfseries {whole}" if self.bold else whole


def escaped(text: str) -> str:
    """Escape a text for LaTeX, on one line."""
    return "".join(SPECIAL.get(one, one) for one in one_line(text))


def as_latex(comparison: Comparison) -> str:
    """Write the tables of a comparison, its differences with their intervals, and its notes as comments."""
    parts = [PREAMBLE]
    heads = [escaped(column.title) for column in comparison.columns]
    for title, rows in titled_tables(comparison):
        if rows:
            parts.append(_metrics_table(title, heads, rows, turned=len(heads) > MOST_COLUMNS))
    if comparison.config:
        parts.append(_config_table(comparison, heads))
    parts += _differences_table(comparison)
    return "\n".join([*parts, *_comments(comparison.notes)])


def groups_as_latex(grouping: Grouping) -> str:
    """Write the groups, their pairs with intervals, and what their figures mean as comments."""
    metrics = grouping.metrics
    keys = len(grouping.keys)
    rows: list[list[object]] = [
        [
            *map(escaped, group.values),
            str(len(group.seeds)),
            *(_cell(group.figures.get(metric), metric.unit) for metric in metrics),
        ]
        for group in grouping.groups
    ]
    heads = [*map(escaped, grouping.keys), "n", *(f"{{{_label(head_of(m), m.unit)}}}" for m in metrics)]
    parts = [PREAMBLE, _tabular(GROUPS_TITLE, heads, rows, "l" * keys + "r" + "S" * len(metrics))]
    if grouping.pairs:
        over = kinds_of(grouping)
        several = len(over) > 1
        pair_heads = ["", *ENDS, "{p (Holm)}", "seeds to settle it", *(["over"] if several else [])]
        pairs = [[*_pair(grouping, pair), *([kind_of(pair)] if several else [])] for pair in grouping.pairs]
        title = f"{PAIRS_TITLE}{', over ' + over[0] if len(over) == 1 else ''}"
        parts.append(_tabular(title, pair_heads, pairs, "lSSSSl" + "l" * several))
    return "\n".join([*parts, *_comments([*legend_of(grouping), *grouping.notes])])


def _differences_table(comparison: Comparison) -> Iterator[str]:
    """Yield the table of differences in loss, if there are any; bold where one is clear."""
    base = None if comparison.baseline is None else comparison.columns[comparison.baseline]
    rows: list[list[object]] = [
        [
            escaped(f"{column.title} − {against.title}"),
            Cell(_signed(found.mean), bold=found.clear),
            *(Cell(_signed(end)) for end in (found.low, found.high)),
            found.kind,
        ]
        for column, against, found in loss_intervals(comparison.columns, base)
    ]
    if rows:
        yield _tabular("Difference in loss; bold where clear", ["", *ENDS, "over"], rows, "lSSSl")


def _pair(grouping: Grouping, pair: Pair) -> list[object]:
    name, found = escaped(name_of(grouping, pair)), pair.interval
    if found is None or pair.p is None:
        return [name, Cell(), Cell(), Cell(), Cell(), escaped(f"not compared: {pair.reason}")]
    ends = (Cell(_signed(each)) for each in (found.low, found.high))
    return [
        name,
        Cell(_signed(found.mean), bold=pair.clear),
        *ends,
        Cell(f"{pair.p:.4f}") if pair.p >= LEAST_SHOWN else Cell(text=f"$<${LEAST_SHOWN}"),
        escaped(str(pair.needed or "")),
    ]


def _metrics_table(title: str, heads: Sequence[str], rows: Sequence[Row], *, turned: bool) -> str:
    """Write metrics as rows, or as columns where runs are many."""
    labels = [_label(row.label, row.unit) for row in rows]
    cells = [[_cell(v, row.unit, bold=index in row.best) for index, v in enumerate(row.values)] for row in rows]
    if turned:
        lines = [[head, *line] for head, line in zip(heads, zip(*cells, strict=True), strict=True)]
        return _tabular(title, ["", *(f"{{{label}}}" for label in labels)], lines, "l" + "S" * len(labels))
    return _tabular(
        title,
        ["", *(f"{{{head}}}" for head in heads)],
        [[label, *line] for label, line in zip(labels, cells, strict=True)],
        "l" + "S" * len(heads),
    )


def _config_table(comparison: Comparison, heads: Sequence[str]) -> str:
    rows = [list(map(escaped, (key, *map(with_short_hashes, values)))) for key, values in comparison.config]
    if len(heads) > MOST_COLUMNS:
        corner, *keys = zip(*([*rows]), strict=True)
        turned = [[head, *values] for head, values in zip(heads, keys, strict=True)]
        return _tabular(CONFIG_TITLE, ["", *corner], turned, "l" * (len(corner) + 1))
    return _tabular(CONFIG_TITLE, ["", *heads], rows, "l" * (len(heads) + 1))


def _label(label: str, unit: Unit) -> str:
    return escaped(label) + (r" (\%)" if unit == "share" else "")


def _cell(value: Value | None, unit: Unit, *, bold: bool = False) -> Cell:
    """Write a value; a threshold that no signal reaches, and what is not finite, are words."""
    if value is None:
        return Cell()
    if unit == "signal" and value.mean > 1:
        return Cell(text="off")
    if not math.isfinite(value.mean):
        return Cell(text=r"$\infty$" if value.mean > 0 else str(value.mean))
    deviation = "" if value.deviation is None else _number(value.deviation, unit)
    return Cell(_number(value.mean, unit), deviation, bold=bold)


def _number(value: float, unit: Unit) -> str:
    scaled = 100 * value if unit == "share" else value
    digits = 1 if unit == "count" and scaled != round(scaled) else DIGITS[unit]
    return f"{scaled:z.{digits}f}"


def _signed(nats: float) -> str:
    return f"{nats:+z.4f}"


def _tabular(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], columns: str) -> str:
    """Write a tabular; `columns`: `l`, `r`, or `S` for figures, whose format follows from its cells."""
    lines = [list(row) for row in rows]
    spec = [
        f"S[table-format={_format([line[at] for line in lines])}]" if kind == "S" else kind
        for at, kind in enumerate(columns)
    ]
    written = [f"% {' '.join(title.split())}", f"\\begin{{tabular}}{{{' '.join(spec)}}}", r"\toprule"]
    written += [f"{' & '.join(heads)} \\\\", r"\midrule"]
    written += [f"{' & '.join(map(str, line))} \\\\" for line in lines]
    return "\n".join([*written, r"\bottomrule", r"\end{tabular}", ""])


def _format(cells: Iterable[object]) -> str:
    """Return the format of a column, such as `+3.2(2)`: sign, digits before and after the point, and of deviations."""
    figures = [cell for cell in cells if isinstance(cell, Cell) and cell.figure]
    if not figures:
        return "1.0"
    sign = next((cell.figure[0] for cell in figures if cell.figure[0] in "+-"), "")
    parts = [cell.figure.lstrip("+-").partition(".") for cell in figures]
    before, after = max(len(whole) for whole, _, _ in parts), max(len(rest) for _, _, rest in parts)
    deviations = [cell.deviation.replace(".", "").lstrip("0") or "0" for cell in figures if cell.deviation]
    return f"{sign}{before}.{after}{f'({max(map(len, deviations))})' if deviations else ''}"


def _comments(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines as comments."""
    return (f"% {one_line(line, 2000)}" for line in lines)
