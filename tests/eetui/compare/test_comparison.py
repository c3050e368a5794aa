"""Runs side by side: shared columns, rows, best values, and every format."""

import csv
import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from core.config.run_config import RunConfig
from core.events import Epoch
from core.metrics import FINAL_PPL, run_metrics, value_of
from core.state import RunState, StageState
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.compare.comparison import compare
from eetui.compare.report_runs import report_names, report_view
from eetui.compare.run_view import stored_view
from eetui.compare.sheets import CONFIG_TITLE, config_sheet, fitting, sheets
from eetui.compare.tables_text import as_csv, as_json, as_markdown, as_tables
from eetui.drawing.figures import duration, figure
from tests.eetui.comparing import run
from tests.scripted_runs import RECORD


def test_runs_that_differ_in_seed_only_share_a_column_with_mean_and_sample_deviation() -> None:
    shown = compare([run("a-1", 1, final_ppl=10), run("a-2", 2, final_ppl=14), run("b-1", 1, final_ppl=11)])
    assert [column.title for column in shown.columns] == ["a ×2", "b-1"]
    value = shown.final[0].values[0]
    assert value is not None
    assert (value.mean, value.deviation) == (12, 8**0.5)
    assert shown.final[0].best == frozenset(), "one seed against two: nothing is known of its spread"
    assert [column.subtitle for column in shown.columns] == ["2 seeds: 1, 2", "one seed: 1"]


def test_each_seed_can_stand_alone() -> None:
    shown = compare([run("a-1", 1, final_ppl=10), run("a-2", 2, final_ppl=14)], group_seeds=False)
    assert len(shown.columns) == 2


def test_all_that_tie_for_the_best_are_marked_and_none_where_all_are_equal() -> None:
    shown = compare([run(name, final_ppl=ppl, accuracy=0.5) for name, ppl in (("a", 2), ("b", 2), ("c", 3))])
    best = {row.key: row.best for row in shown.final}
    assert best == {"final_ppl": {0, 1}, "accuracy": frozenset()}


def test_ppl_of_own_hard_tokens_says_so_and_is_not_ranked() -> None:
    shown = compare([run("a", **{"block1.val_ppl": 5.0}), run("b", **{"block1.val_ppl": 6.0})])
    assert shown.training[0].label == "Block 1 early-stop PPL (own hard tokens)"
    assert shown.training[0].best == frozenset()


def test_different_corpora_are_ranked_apart() -> None:
    other = replace(run("c", final_ppl=1), fingerprint="two", corpus="two texts")
    shown = compare([run("a", final_ppl=5), run("b", final_ppl=6), other])
    assert shown.final[0].best == {0}
    assert shown.notes == ("different windows, so figures are ranked only within one of: one text; two texts",)


def test_training_figures_of_other_windows_share_neither_star_nor_difference() -> None:
    places = [(name, ppl, seed) for name, ppl in (("a", 5), ("b", 50)) for seed in (1, 2, 3)]
    runs = [run(f"{name}-{seed}", seed, **{"block0.val_ppl": ppl + seed}) for name, ppl, seed in places]
    shown = compare(runs, baseline="a-1")
    assert (shown.training[0].best, shown.training[0].deltas[1] is None) == ({0}, False)
    moved = [replace(view, training_windows="others") if view.method == "b" else view for view in runs]
    shown = compare(moved, baseline="a-1")
    assert (shown.training[0].best, shown.training[0].deltas) == (frozenset(), (None, None))
    assert shown.notes[1:] == (
        "not trained and stopped on the same windows, so the training table ranks only those that were",
    )


def test_config_shows_what_differs_only() -> None:
    runs = [run("a"), replace(run("b"), config={**run("a").config, "method": "b", "train.lr": 0.2})]
    assert compare(runs).config == (("method", ("a", "b")), ("train.lr", ("0.1", "0.2")))


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    shown = compare([run("[red]x|y[/red]", final_ppl=2), run("b", final_ppl=3)])
    out = StringIO()
    Console(file=out, width=100).print(as_tables(shown))
    assert "[red]x|y[/red]" in out.getvalue()
    assert "\\[red\\]x\\|y\\[/red\\]" in as_markdown(shown)


def test_the_report_has_its_three_methods() -> None:
    views = [report_view(reference) for reference in report_names()]
    assert [view.metrics[FINAL_PPL] for view in views if view] == [1095.46, 1071.76, 1219.52]
    assert report_view("report:none") is None
    assert report_view("loss") is None


def test_figures_and_durations() -> None:
    assert figure(1095.456, "ppl") == "1095.46"
    assert figure(0.1682, "share") == "16.82%"
    assert figure(12345, "count") == "12,345"
    assert figure(None, "ppl") == "–"
    assert [duration(s) for s in (None, 7.26, 125, 3725)] == ["–", "7.3s", "2m05s", "1h02m"]


def test_the_same_seed_twice_is_no_second_seed() -> None:
    shown = compare([run("a-1", 1, final_ppl=10), run("a-2", 1, final_ppl=10)])
    assert [column.title for column in shown.columns] == ["a-1", "a-2"]


def test_groups_of_one_method_keep_titles_of_their_own() -> None:
    slow = [replace(run(f"a-{seed}", seed), config={"method": "a", "train.lr": 0.01}) for seed in (3, 4)]
    shown = compare([run("a-1", 1), run("a-2", 2), *slow])
    assert [column.title for column in shown.columns] == ["a-1 ×2", "a-3 ×2"]
    fast = [replace(run(f"a-{seed + 2}", seed), config={"method": "a", "train.lr": 0.1}) for seed in (3, 4)]
    assert [column.title for column in compare([*slow, *fast]).columns] == ["a ×2, lr=0.01", "a ×2, lr=0.1"]


def test_cells_stand_against_a_baseline_by_percent_of_a_ppl_and_points_of_a_share() -> None:
    runs = [run("a", final_ppl=200, accuracy=0.16), run("b", final_ppl=198, accuracy=0.17), run("c", accuracy=0.15)]
    shown = compare(runs, baseline="a")
    assert shown.baseline == 0
    ppl, accuracy = shown.final
    assert ppl.deltas == (None, pytest.approx(-0.01), None)
    assert accuracy.deltas == (None, pytest.approx(0.01), pytest.approx(-0.01))
    final = next(sheets(shown))
    assert final.rows[0][1:] == ("200.00", "198.00  -1.00%", "–        ")
    assert final.rows[1][1:] == ("16.00%", "17.00% +1.00pp", "15.00% -1.00pp")


def test_ppls_of_other_tokens_have_no_difference() -> None:
    other = replace(run("c", final_ppl=1, **{"block0.val_ppl": 9.0}), fingerprint="two")
    own = [run(name, final_ppl=ppl, **{"block1.val_ppl": ppl}) for name, ppl in (("a", 5), ("b", 6))]
    shown = compare([*own, other], baseline="a")
    assert shown.final[0].deltas == (None, pytest.approx(0.2), None)
    own_hard_tokens = next(row for row in shown.training if row.key == "block1.val_ppl")
    assert own_hard_tokens.deltas == (None, None, None)


def test_the_baseline_is_the_column_that_a_run_is_in() -> None:
    runs = [run("a-1", 1, final_ppl=10), run("a-2", 2, final_ppl=14), run("b-1", 1, final_ppl=11)]
    assert compare(runs, baseline="a-2").final[0].deltas == (None, pytest.approx(11 / 12 - 1))
    assert compare(runs, baseline="a-2", group_seeds=False).baseline == 1
    assert compare(runs, baseline="gone").baseline is None


def test_csv_and_json_tell_the_baseline_only_if_there_is_one() -> None:
    runs = [run("a", final_ppl=200), run("b", final_ppl=100)]
    assert "delta" not in as_csv(compare(runs))
    lines = list(csv.DictReader(StringIO(as_csv(compare(runs, baseline="a")))))
    assert [line["delta"] for line in lines if line["metric"] == "final_ppl"] == ["", "-0.5"]
    assert "baseline" not in json.loads(as_json(compare(runs)))
    told = json.loads(as_json(compare(runs, baseline="a")))
    assert (told["baseline"], told["final"][0]["deltas"]) == ("a", [None, -0.5])


def test_the_whole_config_can_be_had() -> None:
    runs = [run("a"), replace(run("b"), config={**run("a").config, "method": "b"})]
    assert [key for key, _ in compare(runs).config] == ["method"]
    assert [key for key, _ in compare(runs, whole_config=True).config] == ["method", "train.lr", "model.block_layers"]


def test_layer_flop_and_time_savings_stand_together_and_the_best_of_each_is_marked() -> None:
    cheap = run("loss-1", layer_savings=0.25, flop_savings=0.2, time_savings=0.1, break_even=0.01)
    dear = run("softmax-2", layer_savings=0.35, flop_savings=-0.1, time_savings=-0.2, break_even=0.9)
    rows = [row for row in compare([cheap, dear]).final if "savings" in row.key or row.key == "break_even"]
    assert [row.label for row in rows] == [
        "Layer savings", "FLOP savings", "Time savings (measured)", "Exit rate at which FLOPs break even",
    ]  # fmt: skip
    assert [row.best for row in rows] == [frozenset({1}), frozenset({0}), frozenset({0}), frozenset()]


def test_runs_whose_blocks_were_trained_together_stand_beside_staged_ones() -> None:
    lm = StageState(
        "joint.lm", "lm", None, 2, 10, 100, history=(Epoch("joint.lm", 1, 3.0, 2.0, None, None, True, 1, 9.0),)
    )
    joint = replace(run("gain-1"), metrics=run_metrics(RunState(stages=(lm,)), {}))
    staged = run("loss-2", **{"block0.val_ppl": 8.0})
    rows = {row.label: row.values for row in compare([joint, staged]).training}
    assert rows["All blocks together: early-stop PPL"][0] == value_of([math.exp(2)])
    assert rows["Block 0 early-stop PPL"] == (None, value_of([8.0]))


def test_a_run_from_before_a_field_was_there_is_a_seed_of_those_from_after(tmp_path: Path) -> None:
    config = RunConfig()
    older = config.model_dump(mode="json")
    del older["machine"]["head_dtype"], older["model"]["norm"]
    with Writer(tmp_path / "runs.db") as writer:
        runs = [
            NewRun(None, "loss", seed, "seed", json.dumps({**values, "seed": seed}), RECORD)
            for seed, values in ((1, older), (2, config.model_dump(mode="json")))
        ]
        numbers = writer.create_experiment(runs)
    with Reader(tmp_path / "runs.db") as reader:
        comparison = compare([stored_view(reader, number) for number in numbers])
    assert [len(column.runs) for column in comparison.columns] == [2]


def test_more_than_six_columns_become_rows_that_fit_the_width() -> None:
    runs = [run(f"{name}-1", final_ppl=ppl, accuracy=0.5) for name, ppl in zip("abcdefg", range(5, 12), strict=True)]
    assert not next(sheets(compare(runs[:6]))).turned
    final = next(sheets(compare(runs)))
    assert (final.heads, final.rows[0]) == (("", "Final PPL (early exit)", "Accuracy"), ("a-1", "5.00", "50.00%"))
    assert final.best == {(0, 1)}
    assert "best of the column" in final.remark
    wide, narrow = StringIO(), StringIO()
    for out, width in ((wide, 200), (narrow, 24)):
        Console(file=out, width=width).print(as_tables(compare(runs), width))
    heads = [sum("Final: " in line for line in out.getvalue().splitlines()) for out in (wide, narrow)]
    assert heads == [1, 2], "columns that do not fit stand below"
    assert max(map(len, narrow.getvalue().splitlines())) <= 24
    assert "| g-1 | 11.00 | 50.00% |" in as_markdown(compare(runs))


def test_a_baseline_of_several_seeds_says_whose_mean_it_is() -> None:
    runs = [run("a", 1, final_ppl=100), run("a-2", 2, final_ppl=200), run("b", 1, final_ppl=150)]
    (note,) = compare(runs, baseline="a").notes
    assert note.startswith("the baseline a ×2 is the mean of a, a-2, which differ in seed only")
    assert compare(runs, baseline="b").notes == compare(runs, baseline="a", group_seeds=False).notes == ()


def test_a_config_without_differences_says_so() -> None:
    one = compare([run("a", final_ppl=100)])
    assert config_sheet(one).rows == (("a single column: nothing to differ from", ""),)
    eight = compare([run(f"a-{n}", n, final_ppl=100) for n in range(8)], group_seeds=False)
    assert fitting(config_sheet(eight)).heads[1:] == ("nothing differs but seeds",)
    assert CONFIG_TITLE not in [sheet.title for sheet in sheets(one)]
