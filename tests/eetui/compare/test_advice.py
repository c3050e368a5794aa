"""What follows from runs side by side: which to take, how far they differ, and what to bear in mind."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.config.run_config import method_names
from core.exits import exit_method
from core.metrics import FINAL_PPL, LAYER_SAVINGS
from core.store.reader import Reader
from core.store.writer import NewRun, Writer
from eetui.compare.comparison import compare
from eetui.compare.report_runs import report_names, report_view
from eetui.compare.run_view import stored_view
from tests.eetui.comparing import run
from tests.scripted_runs import RECORD, config


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
    assert advice["compute"].reason == "saves most FLOPs, 20.0%, for +10.0% PPL"
    older = run("softmax-2", final_ppl=100, layer_savings=0.35)
    assert {one.purpose: one.choice for one in compare([cheap, older]).advice}["compute"] == "softmax-2"


@pytest.mark.parametrize("method", method_names())
def test_layers_saved_by_a_signal_that_reads_the_head_come_with_a_caveat(method: str, tmp_path: Path) -> None:
    new = NewRun(None, method, 1, None, config(method).model_dump_json(), RECORD)
    with Writer(tmp_path / "runs.db") as writer, Reader(tmp_path / "runs.db") as reader:
        (number,) = writer.create_experiment([new])
        view = replace(stored_view(reader, number), metrics={FINAL_PPL: 100.0, LAYER_SAVINGS: 0.35})
    (_, compute, _) = compare(
        [run("other-1", final_ppl=90, layer_savings=0.2), replace(view, fingerprint="one")]
    ).advice
    assert compute.choice == f"{method}-1"
    assert ("reads the whole head" in compute.reason) == exit_method(method).reads_head
    assert view.config["method"] == method


def test_the_report_s_softmax_comes_with_the_caveat_too() -> None:
    views = {reference: report_view(reference) for reference in report_names()}
    assert {name for name, view in views.items() if view is not None and view.reads_head} == {"report:softmax"}


def test_where_no_run_saves_flops_the_advice_says_so() -> None:
    runs = [run(f"loss-{n}", final_ppl=100 + n, layer_savings=0.2, flop_savings=-0.1 * n) for n in (1, 2)]
    advice = {one.purpose: one for one in compare(runs).advice}
    assert advice["compute"].reason == "costs least, 10.0% more FLOPs than never exiting: none of these saves any"


def test_every_kind_of_warning_is_told_over_several_seeds() -> None:
    warned = [replace(run(f"a-{seed}", seed), warnings=(f"{seed}% left", f"loses by {seed}")) for seed in (1, 2)]
    assert compare(warned).notes == (
        "a ×2: 2 of 2 seeds warn, such as: 1% left",
        "a ×2: 2 of 2 seeds warn, such as: loses by 1",
    )
