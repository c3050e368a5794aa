from dataclasses import replace
from io import StringIO

from rich.console import Console

from eetui.comparison import RunView, compare
from eetui.renderables.comparison import as_markdown, as_tables
from eetui.renderables.figures import duration, figure
from eetui.reports import report_names, report_view


def run(name: str, seed: int = 1, **metrics: float) -> RunView:
    return RunView(
        name=name,
        method=name.partition("-")[0],
        seed=seed,
        status="finished",
        fingerprint="one",
        corpus="one text",
        config={"method": name.partition("-")[0], "seed": seed, "train.lr": 0.1},
        metrics=metrics,
        window_losses=[metrics.get("loss", 1.0)] * 64,
    )


def test_runs_that_differ_in_seed_only_share_a_column_with_mean_and_sample_deviation() -> None:
    shown = compare([run("a-1", 1, final_ppl=10), run("a-2", 2, final_ppl=14), run("b-1", 1, final_ppl=11)])
    assert [column.title for column in shown.columns] == ["a ×2", "b-1"]
    value = shown.final[0].values[0]
    assert value is not None
    assert (value.mean, value.deviation) == (12, 8**0.5)
    assert shown.final[0].best == {1}
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
    assert shown.notes == ("different tokens, so PPLs are ranked only within one of: one text; two texts",)


def test_advice_names_the_run_for_each_purpose() -> None:
    runs = [
        run("good", final_ppl=100, layer_savings=0.1),
        run("middle", final_ppl=104, layer_savings=0.28),
        run("cheap", final_ppl=130, layer_savings=0.3),
    ]
    assert [(a.purpose, a.choice) for a in compare(runs).advice] == [
        ("accuracy", "good"),
        ("compute", "cheap"),
        ("balance", "middle"),
    ]


def test_config_shows_what_differs_only() -> None:
    runs = [run("a"), replace(run("b"), config={"method": "b", "train.lr": 0.2})]
    assert compare(runs).config == (("method", ("a", "b")), ("train.lr", ("0.1", "0.2")))


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    shown = compare([run("[red]x|y[/red]", final_ppl=2), run("b", final_ppl=3)])
    out = StringIO()
    Console(file=out, width=100).print(as_tables(shown))
    assert "[red]x|y[/red]" in out.getvalue()
    assert "[red]x\\|y[/red]" in as_markdown(shown)


def test_the_report_has_its_three_methods() -> None:
    views = [report_view(reference) for reference in report_names()]
    assert [view.metrics["final_ppl"] for view in views if view] == [1095.46, 1071.76, 1219.52]
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


def test_every_kind_of_warning_is_told_over_several_seeds() -> None:
    warned = [replace(run(f"a-{seed}", seed), warnings=(f"{seed}% left", f"loses by {seed}")) for seed in (1, 2)]
    assert compare(warned).notes == (
        "a ×2: 2 of 2 seeds warn, such as: 1% left",
        "a ×2: 2 of 2 seeds warn, such as: loses by 1",
    )
