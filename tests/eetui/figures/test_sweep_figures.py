"""Figures of a sweep: heat table and front."""

import csv
import io
from pathlib import Path

import pytest

from core.errors import UsageError
from core.sweeps.heat import heat_table
from eetui.cli.sweep_figures import write_sweep_figures
from eetui.figures.render import render
from eetui.figures.sweep_front import front_plot
from eetui.figures.sweep_heat import heat_plot
from tests.core.sweeps.made_up import grid
from tests.hostile import harmful

pytest.importorskip("matplotlib")
AXES = {"method": ["loss", "$g$\x1b[31m"], "exit.hard_ratio": [0.3, 0.7]}
FOUND = grid(AXES, 2, lambda s, seed: {
    "final_ppl": 30 + 10 * s["exit.hard_ratio"] + seed / 8 + (s["method"] == "loss"),
    "flop_savings": s["exit.hard_ratio"],
})  # fmt: skip
NOTHING = grid({"method": ["loss"]}, 1, lambda setting, seed: None)


def numbers(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_front_is_that_of_the_table_and_its_names_are_no_formulas() -> None:
    plot = front_plot("night", FOUND)
    rows = numbers(plot.csv())
    assert [(row["flop_savings"], row["on_front"]) for row in rows] == [
        ("0.3", "1"), ("0.3", "0"), ("0.7", "1"), ("0.7", "0"),
    ]  # fmt: skip
    svg = render(plot, 8.3, "svg").decode()
    assert harmful(svg) == []
    assert ">$g$\N{REPLACEMENT CHARACTER}[31m 0.7<" in svg


def test_a_heat_table_has_its_cells_and_those_that_lead() -> None:
    plot = heat_plot("night", heat_table(FOUND))
    rows = numbers(plot.csv())
    assert len(rows) == 4
    assert [row["mean"] for row in rows if row["leads"] == "1"] == ["33.0625"]
    assert "33.06 ± 0.09" in render(plot, 8.3, "svg").decode()


def test_both_are_written_beside_each_other_in_each_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"svg": tmp_path / "a.svg", "png": tmp_path / "a"}
    write_sweep_figures("night", FOUND, heat_table(FOUND), files, "column", force=False)
    names = [f"a-{kind}.{suffix}" for kind in ("heat", "front") for suffix in ("svg", "png", "csv")]
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == names
    with pytest.raises(UsageError, match="are there already"):
        write_sweep_figures("night", FOUND, heat_table(FOUND), files, "column", force=False)


def test_a_sweep_without_figures_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"night has no heat table.*night has no front"):
        write_sweep_figures("night", NOTHING, heat_table(NOTHING), {"svg": tmp_path / "a.svg"}, "column", force=False)
