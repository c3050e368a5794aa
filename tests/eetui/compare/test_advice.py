"""What follows from runs side by side: which to take, how far they differ, and what to bear in mind."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.run_config import method_names
from core.exits import exit_method
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.compare.advice import Advice, static_note
from eetui.compare.columns import Column
from eetui.compare.comparison import compare
from eetui.compare.report_runs import report_names, report_view
from eetui.compare.run_view import RunView, stored_view
from tests.eetui.comparing import run
from tests.scripted_runs import RECORD, config

ONE_SEED = "; of one seed, others may rank otherwise"


def advised(*runs: RunView) -> dict[str, Advice]:
    return {one.purpose: one for one in compare(runs).advice}


def test_nothing_is_advised_by_differences_that_are_not_clear() -> None:
    noisy = [run(f"{name}-1", noise=0.5, final_ppl=ppl, layer_savings=saved) for name, ppl, saved in (
        ("a", 100, 0.3), ("b", 101, 0.31), ("c", 102, 0.32),
    )]  # fmt: skip
    advice = advised(*noisy)
    assert {purpose: one.choice for purpose, one in advice.items()} == {"accuracy": "none", "compute": "none"}
    assert advice["accuracy"].reason == f"no difference in final PPL is clear (lowest final PPL, 100.00: a-1){ONE_SEED}"
    assert [row.best for row in compare(noisy).final] == [frozenset(), frozenset()]


def test_runs_without_a_clear_difference_share_the_star_and_the_advice() -> None:
    runs = [run(f"{name}-1", noise=0.02, final_ppl=ppl, layer_savings=0.3) for name, ppl in (
        ("a", 100), ("b", 100.2), ("c", 130),
    )]  # fmt: skip
    assert compare(runs).final[0].best == {0, 1}
    accuracy = advised(*runs)["accuracy"]
    assert accuracy.choice == "a-1 or b-1"
    assert "no clear difference between these" in accuracy.reason


def test_seeds_tell_what_is_clear_where_windows_are_not_kept() -> None:
    def seeds(name: str, *ppls: float) -> list[RunView]:
        return [replace(run(f"{name}-{n}", n, final_ppl=ppl), windows={}) for n, ppl in enumerate(ppls)]

    apart = [*seeds("a", 100, 101, 99), *seeds("b", 110, 111, 109.5)]
    assert compare(apart).final[0].best == {0}
    near = [*seeds("a", 100, 104, 96), *seeds("b", 101, 99, 102)]
    assert compare(near).final[0].best == frozenset()


def test_runs_that_skip_nothing_are_not_advised_for_compute() -> None:
    inert = [
        replace(view, config={**view.config, "exit.exited_state": "input"})
        for view in (run("a-1", final_ppl=100, layer_savings=0.3), run("b-1", final_ppl=120, layer_savings=0.5))
    ]
    assert advised(*inert)["compute"].choice == "none"
    assert "exited_state=input" in advised(*inert)["compute"].reason
    skips = run("c-1", final_ppl=110, layer_savings=0.1)
    assert advised(*inert, skips)["compute"].choice == "c-1"


def test_infinite_ppls_are_told_as_that_and_nothing_follows_from_them() -> None:
    def diverged(name: str, seed: int, saved: float) -> RunView:
        return run(f"{name}-{seed}", seed, final_ppl=math.inf, layer_savings=saved)

    for runs in (
        [diverged("a", 1, 0.3), diverged("b", 1, 0.5)],
        [diverged("a", 1, 0.3), run("b-1", final_ppl=100, layer_savings=0.5)],
        [diverged("a", 1, 0.5), run("b-1", final_ppl=100, layer_savings=0.3)],
        [diverged(name, seed, saved) for name, saved in (("a", 0.3), ("b", 0.5)) for seed in (1, 2)],
    ):
        comparison = compare(runs, baseline=runs[0].name)
        words = [*comparison.differences, *(one.reason for one in comparison.advice)]
        assert not any("nan" in word or "+inf" in word for word in words), words
        assert comparison.final[0].deltas.count(None) == len(comparison.columns)
    assert advised(diverged("a", 1, 0.3), diverged("b", 1, 0.5))["compute"].reason.startswith(
        "saves most layers, 50.0%, at a PPL of inf"
    )


def test_a_fixed_depth_that_saves_a_hair_less_and_is_better_is_named() -> None:
    figures = {"eval.block 0 alone": 105.0, "eval.all blocks": 99.0}
    early = run("a-1", final_ppl=109, layer_savings=0.508, **figures)
    (accuracy, *_) = compare([early, run("b-1", final_ppl=130, layer_savings=0.5)]).advice
    assert accuracy.reason.endswith("; a fixed depth is better: block 0 alone saves 50.0% of the layers at PPL 105.00")
    noisy = run("a-1", final_ppl=109, layer_savings=0.508, noise=0.5, **figures)
    assert "a fixed depth is better, by no clear difference" in static_note(Column((noisy,)))
    mixed = run("a-1", final_ppl=103, layer_savings=0.25, **figures)
    assert "fixed depths mixed at random are better: PPL 101.96" in static_note(Column((mixed,)))
    assert static_note(Column((run("a-1", final_ppl=101, layer_savings=0.25, **figures),))) == ""


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


def test_differences_are_against_the_baseline() -> None:
    runs = [run("a", final_ppl=9, layer_savings=0.1, loss=2.1), run("b", final_ppl=8, layer_savings=0.1, loss=2.0)]
    assert compare(runs).differences[0].startswith("a − b: +0.1000 nats")
    assert compare(runs, baseline="a").differences[0].startswith("b − a: -0.1000 nats")


def test_compute_is_advised_by_flops_where_all_know_theirs() -> None:
    cheap = run("loss-1", final_ppl=110, layer_savings=0.25, flop_savings=0.2)
    dear = run("softmax-2", final_ppl=100, layer_savings=0.35, flop_savings=-0.1)
    advice = {one.purpose: one for one in compare([cheap, dear]).advice}
    assert advice["compute"].choice == "loss-1"
    assert advice["compute"].reason == f"saves most FLOPs, 20.0%, for +10.0% PPL{ONE_SEED}"
    older = run("softmax-2", final_ppl=100, layer_savings=0.35)
    assert {one.purpose: one.choice for one in compare([cheap, older]).advice}["compute"] == "softmax-2"


@pytest.mark.parametrize("method", method_names())
def test_layers_saved_by_a_signal_that_reads_the_head_come_with_a_caveat(method: str, tmp_path: Path) -> None:
    new = NewRun(None, method, 1, None, config(method, exited_state="copy").model_dump_json(), RECORD)
    with Writer(tmp_path / "runs.db") as writer, Reader(tmp_path / "runs.db") as reader:
        (number,) = writer.create_experiment([new])
        view = stored_view(reader, number)
    figures = run("", final_ppl=100, layer_savings=0.35)
    view = replace(view, metrics=figures.metrics, windows=figures.windows, fingerprint="one")
    (_, compute, *_) = compare([run("other-1", final_ppl=90, layer_savings=0.2), view]).advice
    assert compute.choice == f"{method}-1"
    assert ("reads the whole head" in compute.reason) == exit_method(method).reads_head
    assert view.config["method"] == method


def test_the_report_s_softmax_comes_with_the_caveat_too() -> None:
    views = {reference: report_view(reference) for reference in report_names()}
    assert {name for name, view in views.items() if view is not None and view.reads_head} == {"report:softmax"}


def test_where_no_run_saves_flops_the_advice_says_so() -> None:
    runs = [run(f"loss-{n}", final_ppl=100 + n, layer_savings=0.2, flop_savings=-0.1 * n) for n in (1, 2)]
    advice = {one.purpose: one for one in compare(runs).advice}
    least = "costs least, 10.0% more FLOPs than never exiting: none of these saves any"
    assert advice["compute"].reason == least + ONE_SEED


def test_every_kind_of_warning_is_told_over_several_seeds() -> None:
    warned = [replace(run(f"a-{seed}", seed), warnings=(f"{seed}% left", f"loses by {seed}")) for seed in (1, 2)]
    assert compare(warned).notes == (
        "a ×2: 2 of 2 seeds warn, such as: 1% left",
        "a ×2: 2 of 2 seeds warn, such as: loses by 1",
    )
