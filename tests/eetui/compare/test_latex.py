"""LaTeX tables: figures that siunitx reads, intervals, bold where a difference is clear, and texts that are escaped."""

import json
import math
import re
import subprocess

import pytest

from core.analysis.group_differences import Samples
from core.intervals import Interval
from eetui.compare.comparison import compare
from eetui.compare.groups import Group, Grouping, Pair
from eetui.compare.latex import as_latex, escaped, groups_as_latex
from tests.conftest import Eetui
from tests.eetui.comparing import run

Done = subprocess.CompletedProcess[str]
FIGURE = re.compile(r"(\\bfseries )?[+-]?\d+(\.\d+)?( \\pm \d+(\.\d+)?)?|\{.*\}")


def tables(latex: str) -> dict[str, tuple[str, list[list[str]]]]:
    """Return the columns and the rows of each table, by its title."""
    found = {}
    for title, spec, body in re.findall(
        r"% ([^\n]+)\n\\begin\{tabular\}\{(.*?)\}\n\\toprule\n(.*?)\\bottomrule", latex, re.DOTALL
    ):
        head, lines = body.split("\\midrule\n")
        found[title] = (spec, [re.split(r"(?<!\\) & ", line.removesuffix(" \\\\")) for line in lines.splitlines()])
        assert {len(row) for row in found[title][1]} == {len(re.split(r"(?<!\\) & ", f" {head.strip()}"))}
    return found


def test_every_figure_is_one_that_siunitx_reads() -> None:
    runs = [
        run("loss-1", 1, 6.0, 0.01, final_ppl=403.4, layer_savings=0.25, **{"block0.threshold": 2.0}),
        run("loss-2", 2, 6.0, 0.01, final_ppl=404.4, layer_savings=0.26, **{"block0.threshold": 2.0}),
        run("gain-3", 1, 7.0, 0.01, final_ppl=1096.6, layer_savings=math.inf),
        run("gain-4", 2, 7.0, 0.01, final_ppl=1098.6, layer_savings=math.inf),
    ]
    found = tables(as_latex(compare(runs)))
    spec, rows = found["Final: evaluation split, all tokens"]
    assert rows[0] == ["Final PPL (early exit)", r"\bfseries 403.90 \pm 0.71", r"1097.60 \pm 1.41"]
    assert rows[1] == [r"Layer savings (\%)", r"\bfseries 25.50 \pm 0.71", r"{$\infty$}"]
    assert spec == "l S[table-format=3.2(2)] S[table-format=4.2(3)]"
    assert found["Training"][1][0][1:] == ["{off}", "{--}"]
    for columns, lines in found.values():
        kinds = [kind[0] for kind in re.sub(r"\[.*?\]", "", columns).split()]
        assert all(FIGURE.fullmatch(cell) for row in lines for k, cell in zip(kinds, row, strict=True) if k == "S")


def test_a_deviation_of_zero_stays_in_the_table() -> None:
    latex = as_latex(compare([run(f"loss-{seed}", seed, 6.0, 0.01, final_ppl=403.4) for seed in (1, 2)]))
    assert r"403.40 \pm 0.00" in latex
    assert "retain-zero-uncertainty = true" in latex, "siunitx leaves it out otherwise"


def test_no_p_is_zero() -> None:
    interval = Interval(0.9, 1.0, 1.1, "windows")
    groups = tuple(Group((name,), 1, (1,), {}, frozenset(), Samples((1,), (1.0,))) for name in "ab")
    for p, written in ((1e-9, "{$<$0.0001}"), (0.03, "0.0300")):
        rows = tables(groups_as_latex(Grouping(("method",), groups, (), (Pair(0, 1, interval, p),), ())))
        (row,) = next(lines for title, (_, lines) in rows.items() if title.startswith("Pairs"))
        assert row[4] == written


def test_many_runs_are_rows() -> None:
    runs = [run(f"m{n}-x", 1, 6.0 + n, 0.01, final_ppl=400.0 + n, layer_savings=0.2) for n in range(8)]
    spec, rows = tables(as_latex(compare(runs)))["Final: evaluation split, all tokens"]
    assert [row[0] for row in rows] == [f"m{n}-x" for n in range(8)]
    assert spec.count("S[") == len(rows[0]) - 1


def test_differences_have_columns_for_the_ends_of_their_intervals(trained: Done, eetui: Eetui) -> None:
    words = ("compare", "1", "2", "3", "4", "5", "6", "--format", "latex")
    differences = tables(eetui(*words).stdout)["Difference in loss; bold where clear"][1]
    for _, mean, low, high, _ in differences:
        number, (first, last) = float(mean.removeprefix("\\bfseries ")), (float(low), float(high))
        assert first <= number <= last
        assert mean.startswith("\\bfseries") == (first > 0 or last < 0)
    groups = tables(eetui("compare", "--group-by", "method", "--format", "latex").stdout)
    told = json.loads(eetui("compare", "--group-by", "method", "--json").stdout)
    pairs = next(rows for title, (_, rows) in groups.items() if title.startswith("Pairs"))
    assert len(pairs) == len(told["pairs"]) == 3


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (r"a_b%&#{}$^~\ ", r"a\_b\%\&\#\{\}\$\textasciicircum{}\textasciitilde{}\textbackslash{} "),
        ("[1] <x> ×3\n", r"{[}1{]} \textless{}x\textgreater{} $\times$3?"),
    ],
)
def test_names_are_escaped(text: str, written: str) -> None:
    assert escaped(text) == written
