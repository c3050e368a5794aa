"""Charts of a comparison, and exports of them."""

import csv
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

from core.session.logged import LoggedRun
from core.store.reader import Reader
from eetui.compare.charts import VIEWS, curve_rows, points, seen
from eetui.compare.comparison import compare
from eetui.compare.run_view import TOGETHER, stored_view
from eetui.compare.screen_text import BAND_MEANS, curve_series, curves_note
from eetui.compare.tables_text import as_csv, as_markdown
from eetui.figures.curves import curves_plot
from tests.eetui.comparing import run


def test_curves_are_the_mean_as_far_as_all_seeds_went() -> None:
    longer, shorter = {1: 5.0, 2: 4.0, 3: 3.5}, {1: 6.0, 2: 5.0}
    runs = [replace(run("a-1", 1), curves={0: longer}), replace(run("a-2", 2), curves={0: shorter})]
    (column,) = compare(runs).columns
    assert {epoch: value.mean for epoch, value in column.curve(0).items()} == {1: 5.5, 2: 4.5}
    assert column.curve(1) == {}
    rows = curve_rows(compare(runs, group_seeds=False).columns, 0)
    assert [[value and value.mean for value in row.values] for row in rows] == [[5, 6], [4, 5], [3.5, None]]


def test_losses_stand_at_the_epochs_that_a_loop_tells(tmp_path: Path) -> None:
    told = {"every fifth": [(5, 3.0), (10, 2.0)], "one lost": [(1, 3.0), (2, math.nan), (3, 2.0)]}
    for name, epochs in (told | {"not counted": [(1, 3.0), (1, 2.0)]}).items():
        with LoggedRun(name, {"corpus": "ours", "kind": name}, db=tmp_path / "runs.db") as logged:
            for epoch, loss in epochs:
                logged.log(epoch=epoch, val_loss=loss)
    with Reader(tmp_path / "runs.db") as reader:
        comparison = compare([stored_view(reader, number) for number in (1, 2, 3)])
    assert [list(series.x) for series in curve_series(comparison, TOGETHER)] == [[5, 10], [1, 3], [1, 2]]
    assert [row.key for row in curve_rows(comparison.columns, TOGETHER)] == [
        f"together.epoch{epoch}" for epoch in (1, 2, 3, 5, 10)
    ]
    drawn = [(row[0], row[3], row[4]) for row in curves_plot(comparison).rows]
    assert drawn[:4] == [("every fifth", 5, 3.0), ("every fifth", 10, 2.0), ("one lost", 1, 3.0), ("one lost", 3, 2.0)]


def test_several_seeds_have_a_band_of_their_deviation_and_the_caption_says_so() -> None:
    seeds = [replace(run(f"a-{n}", n), curves={0: {1: 5.0 + n, 2: 4.0 + n}}) for n in (1, 2, 3)]
    comparison = compare([*seeds, replace(run("b", 1), curves={0: {1: 5.0, 2: 4.0}})])
    band, *means = curve_series(comparison, 0)
    assert (band.style, band.hue, band.y, band.upper) == ("band", 0, [6.0, 5.0], [8.0, 7.0])
    assert [(one.style, one.hue) for one in means] == [("marked", 0), ("marked", 1)]
    assert BAND_MEANS in curves_note(comparison, 0, as_ppl=False)
    assert BAND_MEANS not in curves_note(compare(seeds, group_seeds=False), 0, as_ppl=False)


def test_points_are_early_exit_and_static_depths_of_the_tokens_that_most_share() -> None:
    metrics = {"final_ppl": 9, "layer_savings": 0.25, "eval.block 0 alone": 11, "eval.all blocks": 8, "eval.oracle": 7}
    deep = {"method": "a", "model.block_layers": (1, 3)}
    runs = [replace(run(name, **metrics), config={**deep, "method": name}) for name in ("a", "b")]
    other = replace(run("c", **metrics), fingerprint="two", config=deep)
    found = points(compare([*runs, other]))
    assert [(point.name, point.savings.mean, point.ppl.mean) for point in found if point.column == 0] == [
        ("early exit", 0.25, 9), ("block 0 alone", 0.75, 11), ("all blocks", 0.0, 8),
    ]  # fmt: skip
    assert {point.column for point in found} == {0, 1}


def test_what_is_exported_is_what_a_view_shows() -> None:
    deep = {"method": "a", "model.block_layers": (2, 2)}
    one = replace(run("a", final_ppl=9, layer_savings=0.2, **{"block0.val_ppl": 5}), config=deep, curves={0: {1: 2.0}})
    whole = compare([one, replace(one, name="b", seed=2, config={**deep, "method": "b"})])
    tables = {
        view: {line["table"] for line in csv.DictReader(StringIO(as_csv(seen(whole, view, 0))))} for view in VIEWS
    }
    assert tables == {view: {view} for view in VIEWS} | {"advice": {"final", "training", "config"}}
    assert "Block 0, epoch 1 | 7.39 |" in as_markdown(seen(whole, "curves", 0, as_ppl=True))


def test_curves_that_are_one_and_the_same_are_said_to_be() -> None:
    runs = [
        replace(run(name), curves={0: losses}) for name, losses in (("a", {1: 2.0}), ("b", {1: 2.0}), ("c", {1: 3.0}))
    ]
    note = curves_note(compare(runs), 0, as_ppl=False)
    assert "The same curve: a = b." in note
    assert "c 3.0000" in note
