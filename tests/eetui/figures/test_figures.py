"""Figures of runs: what they hold, how they are written, and what is refused."""

import csv
import io
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.dom import minidom

import pytest

from core.analysis.run_quality import run_quality
from core.errors import UsageError
from core.metrics import Value
from core.store.reader import Reader
from eetui.compare.charts import curve_rows
from eetui.compare.comparison import compare
from eetui.compare.run_view import TOGETHER, stored_view
from eetui.compare.savings_curves import run_curve
from eetui.figures.curves import curves_plot
from eetui.figures.files import paths_of, read_width, write_file, write_plots
from eetui.figures.kinds import KINDS, LeftOut, Options, plots
from eetui.figures.plot import Plot, panel_grid
from eetui.figures.points import nats_around
from eetui.figures.render import render
from eetui.figures.savings import savings_plot
from eetui.figures.style import legend_above, look
from tests.conftest import Eetui
from tests.eetui.comparing import run
from tests.hostile import ALL, harmful, poison
from tests.stored_tokens import store_run
from tests.trained_run import train_run

pytest.importorskip("matplotlib")
Done = subprocess.CompletedProcess[str]
ATTACK = "$x^2$ <b>&amp;\\frac " + ALL


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A run whose name and other texts are hostile, and one on made-up tokens."""
    path = tmp_path_factory.mktemp("figures") / "runs.db"
    train_run(path, text, method="loss", eval_ratio=0.4)
    poison(path, ATTACK)
    store_run(path, windows=48, blocks=3)
    return path


def drawn(database: Path, run: int, *kinds: str, **options: int) -> list[Plot | LeftOut]:
    with Reader(database) as reader:
        comparison = compare([stored_view(reader, run)])
        wanted = [kind for kind in KINDS if not kinds or kind in kinds]
        return list(plots(reader, comparison, wanted, Options(**options)))


def numbers(plot: Plot | LeftOut) -> list[dict[str, str]]:
    assert isinstance(plot, Plot), plot.why
    return list(csv.DictReader(io.StringIO(plot.csv())))


def words(svg: str) -> str:
    """Return the text of an SVG, which is text and no outlines."""
    return "\n".join(node.firstChild.data for node in minidom.parseString(svg).getElementsByTagName("text"))


def test_every_kind_is_drawn_the_same_each_time_without_a_date_and_harmless(database: Path) -> None:
    for plot in drawn(database, 1, lines=2):
        assert isinstance(plot, Plot), plot.why
        svg = render(plot, 8.3, "svg").decode()
        assert svg == render(plot, 8.3, "svg").decode()
        assert not re.search(r"<dc:(date|creator)|Matplotlib v", svg)
        assert 'width="235.27' in svg, "8.3 cm in points"
        assert harmful(words(svg)) == []
        assert re.fullmatch(r"[\w.+-]+", plot.name), "a file name"
    pdf = render(plot, 8.3, "pdf")
    assert pdf == render(plot, 8.3, "pdf")
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf, "letters are of embedded TrueType fonts"


def test_a_name_is_no_formula(database: Path) -> None:
    (plot,) = drawn(database, 1, "curves")
    assert isinstance(plot, Plot)
    assert "$x^2$ <b>&amp;\\frac" in words(render(plot, 17.0, "svg").decode())


def test_numbers_are_those_that_the_screens_draw(database: Path) -> None:
    with Reader(database) as reader:
        curve, state = run_curve(reader, 2), reader.state(2)
    rows = numbers(drawn(database, 2, "savings")[0])
    assert [float(row["loss"]) for row in rows if row["what"] == "one exit rate"] == pytest.approx(curve.loss)
    assert [float(row["loss"]) for row in rows if row["what"] == "static depths"] == pytest.approx(curve.line)
    at, point = (row for row in rows if row["what"].startswith("furthest")), curve.priced.furthest
    assert point is not None
    assert point.interval is not None
    (furthest,) = at
    width = float(furthest["loss_high"]) - float(furthest["loss_low"])
    assert width == pytest.approx(point.interval.high - point.interval.low)
    assert state.final is not None
    assert float(next(row["loss"] for row in rows if row["what"] == "early exit")) == pytest.approx(state.final.loss)


def test_a_waterfall_leads_from_training_to_early_exit(database: Path) -> None:
    start, *steps, end = numbers(drawn(database, 1, "waterfall")[0])
    assert float(start["after"]) + sum(float(step["nats"]) for step in steps) == pytest.approx(float(end["after"]))
    assert float(steps[1]["low"]) < float(steps[1]["high"])


@pytest.mark.parametrize("width", [6.0, 8.3, 17.0])
def test_the_figures_beside_a_waterfall_s_bars_are_inside(database: Path, width: float) -> None:
    (plot,) = drawn(database, 1, "waterfall")
    assert isinstance(plot, Plot)
    from matplotlib import image

    picture = image.imread(io.BytesIO(render(plot, width, "png")))
    dark = picture[:, :, :3].min(axis=2) < 0.6
    assert dark.any()
    assert not dark[:, -2:].any()


def test_a_token_map_shows_the_tokens_that_it_has_room_for(database: Path) -> None:
    (plot,) = drawn(database, 2, "tokens", first=5, lines=3)
    assert isinstance(plot, Plot)
    plot.height(6.0)
    few = numbers(plot)
    plot.height(12.0)
    more = numbers(plot)
    assert few[0]["token"] == more[0]["token"] == "5"
    assert {row["line"] for row in few} == {"0", "1", "2"}
    assert len(more) > len(few)
    assert {row["left_at"] for row in few} <= {"0", "1", "2"}


def test_a_band_is_the_deviation_over_seeds(database: Path) -> None:
    with Reader(database) as reader:
        curve = run_curve(reader, 2)
    other = replace(curve, loss=tuple(loss + 0.1 for loss in curve.loss))
    seeds = compare([run("loss-1", 1, 6.0, 0.01), run("loss-2", 2, 6.0, 0.01)])
    plot = savings_plot(seeds, {"loss-1": curve, "loss-2": other})
    deviations = [float(row["loss_deviation"]) for row in numbers(plot) if row["what"] == "one exit rate"]
    assert deviations == pytest.approx([0.1 / math.sqrt(2)] * len(curve.loss))
    assert "FillBetweenPolyCollection" in render(plot, 8.3, "svg").decode()
    assert "the 95% interval, over seeds and windows, of" in plot.caption
    assert "over windows, of" in savings_plot(compare([run("loss-1", 1, 6.0, 0.01)]), {"loss-1": curve}).caption


def test_runs_without_lines_are_named_with_the_reason(database: Path) -> None:
    with Reader(database) as reader:
        curve = run_curve(reader, 2)
    runs = [run("loss-1", 1, 6.0, 0.01), run("loss-2", 2, 6.0, 0.01), run("gain-3", 1, 6.0, 0.01)]
    comparison = compare(runs)
    why = "loss-2 keeps no statistics of its tokens (finished): train it again"
    plot = savings_plot(comparison, {"loss-1": curve, "loss-2": why, "gain-3": curve})
    seeds = {row["run"]: row["seeds"] for row in numbers(plot) if row["what"] == "one price"}
    assert seeds == {"loss ×2": "1", "gain-3": "1"}
    (said,) = plot.left_out
    assert said == (
        "savings curve of 1 of 2 seeds of loss ×2 (intervals over windows only): the other keeps no statistics of its "
        "tokens (finished)"
    )
    assert f"S{said[1:]}." in plot.caption
    assert "loss ×2 (curve: 1 of 2 seeds)" in words(render(plot, 17.0, "svg").decode())
    assert savings_plot(compare(runs[:1]), {"loss-1": curve}).left_out == ()


def test_a_block_before_later_training_is_no_depth_of_the_same_model() -> None:
    figures = {"final_ppl": 400.0, "layer_savings": 0.2, "eval.block 0 alone": 410.0}
    finished = run("loss-1", 1, 6.0, 0.01, **figures)
    before = run("loss-1", 1, 6.0, 0.01, **figures, **{"eval.block 0 as trained": 405.0})
    assert "static depths of the same models; bars" in savings_plot(compare([finished]), {}).caption
    assert "blocks as they stood before later ones were trained; bars" in savings_plot(compare([before]), {}).caption


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    column = replace(run("_mine", 1, 6.0, 0.01), curves={0: {1: 6.0, 2: 5.0}})
    assert "_mine" in words(render(curves_plot(compare([column])), 8.3, "svg").decode())


def test_blocks_that_are_trained_together_have_one_curve() -> None:
    column = replace(run("joint", 1, 6.0, 0.01), curves={TOGETHER: {1: 6.0, 2: 5.0}})
    plot = curves_plot(compare([column]))
    assert "all blocks together" in words(render(plot, 8.3, "svg").decode())
    assert [row[2:5] for row in plot.rows] == [("all", 1, 6.0), ("all", 2, 5.0)]
    assert "hard tokens" not in plot.caption
    rows = curve_rows(compare([column]).columns, TOGETHER)
    assert [row.label for row in rows] == ["All blocks together, epoch 1", "All blocks together, epoch 2"]


def test_of_many_runs_some_are_in_the_legend_and_what_the_lines_mean_still_is() -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure()
    names = [*(f"run {n}" for n in range(14)), "static line"]
    legend_above(figure, [Line2D([], []) for _ in names], names, signs=1)
    assert [each.get_text() for each in figure.legends[0].texts] == [*names[:11], "and 3 more", "static line"]


def test_a_deviation_reaches_no_further_down_than_a_perplexity_can() -> None:
    below, above = nats_around(Value(500.0, 600.0)) or [[], []]
    assert (below, above) == ([pytest.approx(math.log(500))], [pytest.approx(math.log(1100 / 500))])


def test_the_error_in_a_diagram_is_that_of_the_tables(database: Path) -> None:
    with Reader(database) as reader:
        (judged, *_) = run_quality(reader, 2).quality.exits
    (plot,) = drawn(database, 2, "reliability")
    assert judged.signal is not None
    assert f"exit 0   ECE {judged.signal.error:.4f}" in words(render(plot, 8.3, "svg").decode())
    rows = [row for row in numbers(plot) if row["block"] == "0"]
    error = sum(int(row["tokens"]) * abs(float(row["gap"])) for row in rows) / sum(int(row["tokens"]) for row in rows)
    assert error == pytest.approx(judged.signal.error)


def test_what_a_run_can_not_give_is_left_out_and_why(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store_run(path, windows=20, method="entropy")
    (reason,) = drawn(path, 1, "reliability")
    assert isinstance(reason, LeftOut)
    assert "claims an order only" in reason.why


def test_looks_differ_without_colour_too() -> None:
    looks = [look(index) for index in range(42)]
    assert len({(each.colour, each.marker) for each in looks}) == 42
    assert len({(each.marker, str(each.dashes)) for each in looks[:7]}) == 7


@pytest.mark.parametrize(("count", "width", "grid"), [(1, 8.3, (1, 1)), (3, 8.3, (2, 2)), (3, 17.0, (1, 3))])
def test_panels_are_wide_enough_to_read(count: int, width: float, grid: tuple[int, int]) -> None:
    assert panel_grid(count, width) == grid


def test_widths() -> None:
    assert read_width("column") < read_width("text")
    assert read_width("12.5") == 12.5
    for wrong in ("3", "nan", "wide", "1e9"):
        with pytest.raises(UsageError, match="--width takes column, text or a number of cm from 4 to 60"):
            read_width(wrong)


def test_a_figure_whose_labels_would_be_cut_off_is_refused(database: Path) -> None:
    (waterfall,) = drawn(database, 1, "waterfall")
    assert isinstance(waterfall, Plot)
    with pytest.raises(UsageError, match=r"waterfall-.* does not fit into 4 cm: take a larger --width"):
        render(waterfall, 4.0, "png")
    runs = [run(f"a-run-of-some-{seed}", seed, 6.0, 0.01, final_ppl=400, layer_savings=0.2) for seed in range(12)]
    with pytest.raises(UsageError, match="savings does not fit"):
        render(savings_plot(compare(runs, group_seeds=False), {}), 4.0, "svg")


def test_nothing_is_written_over_what_is_there(database: Path, tmp_path: Path) -> None:
    placed = paths_of([plot for plot in drawn(database, 2, "curves", "savings") if isinstance(plot, Plot)], tmp_path)
    kept = tmp_path / "savings.csv"
    kept.write_text("mine")
    with pytest.raises(UsageError, match=r"savings.csv is there already: --force"):
        list(write_plots(placed, ("png",), 8.3, force=False))
    assert [path.name for path in tmp_path.iterdir()] == ["savings.csv"]
    written = list(write_plots(placed, ("png",), 8.3, force=True))
    assert kept in written
    assert kept.read_text().startswith("run,seeds,what")
    assert (tmp_path / "savings.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_stays_as_it_is_until_the_new_one_is_whole(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path, link = tmp_path / "page.html", tmp_path / "link.html"
    path.write_bytes(b"old" * 1000)
    link.symlink_to(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(UsageError, match="can't be written"):
            write_file(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old" * 1000
    assert {*tmp_path.iterdir()} == {path, link}
    write_file(link, b"new")
    assert (path.read_bytes(), link.is_symlink()) == (b"new", True)


def test_of_figures_of_one_name_the_later_are_numbered(database: Path, tmp_path: Path) -> None:
    (plot,) = (plot for plot in drawn(database, 2, "savings") if isinstance(plot, Plot))
    names = ("a", "A", "a-2", "b")
    placed = paths_of([replace(plot, name=name) for name in names], tmp_path)
    assert [path for _, path in placed] == [tmp_path / name for name in ("a", "A-2", "a-2-2", "b")]
    assert [plot.name for plot, _ in placed] == list(names)


def test_the_command_writes_figures_and_says_what_is_missing(trained: Done, eetui: Eetui, tmp_path: Path) -> None:
    done = eetui("plot", "2", "5", "-k", "curves", "-k", "savings", "-o", str(tmp_path / "out"), "--width", "text")
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()] == [
        "curves.svg", "curves.csv", "savings.svg", "savings.csv",
    ]  # fmt: skip
    assert "loss ×2" in words((tmp_path / "out" / "curves.svg").read_text())
    one = eetui("plot", "2", "-k", "curves", "-o", str(tmp_path / "a.b.pdf"))
    assert one.stdout.split() == [str(tmp_path / "a.b.pdf"), str(tmp_path / "a.b.csv")]
    report = eetui("plot", "report:loss", "-o", str(tmp_path))
    assert (report.returncode, "no curves:" in report.stderr) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2", "-k", "pie"], "--kind must be one of curves, savings,"),
        (["2", "-o", "x.svg"], "are 5 figures"),
        (["2", "--format", "gif"], "--format must be one of svg, pdf, png, got 'gif'"),
        (["2", "-k", "curves", "-o", "x.svg", "--format", "pdf"], "--output x.svg is svg, and --format asks for pdf"),
        (["3", "-k", "tokens", "-k", "curves", "-o", "/dev/null/x"], "can't be written"),
        (["report:loss", "-k", "savings", "-k", "curves", "-k", "tokens"], "no tokens: none of these runs is stored"),
        (["2", "-k", "curves", "-o", "x.jpg"], "--output x.jpg: figures are written as svg, pdf, png, not as .jpg"),
        (["2", "-k", "tokens", "--first", "99999999"], "has no token 99,999,999"),
        (["nobody"], "there is no run 'nobody'"),
    ],
)
def test_bad_requests_are_refused(trained: Done, eetui: Eetui, arguments: list[str], message: str) -> None:
    done = eetui("plot", *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_without_matplotlib_the_extra_is_named(trained: Done, eetui: Eetui, tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('No module named matplotlib')")
    done = eetui("plot", "2", PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[3]}")
    assert (done.returncode, "pip install 'eetui[plot]'" in done.stderr) == (2, True)
