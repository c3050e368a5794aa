"""The ablation: its plan, the runs already stored, and the table of results."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.config.dotted_names import flatten
from core.config.run_config import Layer, build, preset_layer, set_layer
from core.errors import ConfigError, UsageError
from core.intervals import Interval
from core.metrics import FINAL_PPL, LAYER_SAVINGS, SHALLOW_RATIO
from core.session.prepare import prepare
from core.session.run import run_experiment
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.compare.ablation import (
    FIGURES,
    INERT,
    Ablation,
    AblationRow,
    ablation_lines,
    plan_ablation,
    plan_of,
    stored_runs,
)
from eetui.compare.ablation_text import ablation_json, ablation_table
from eetui.compare.run_view import RunView
from tests.conftest import TINY, TINY_TRAINING

SOUND = preset_layer("sound").values
SWITCHES = {key: value for key, value in SOUND.items() if not key.startswith("data.")}
"""Those that runs of one experiment can differ in."""


def planned(*assignments: str, preset: str = "seed", **options: Any) -> Ablation:
    return plan_ablation([preset_layer(preset), *map(set_layer, assignments)], preset=preset, **options)


def changes(row: AblationRow, base: AblationRow) -> set[str]:
    """Return the config keys in which a line differs from the base."""
    first, second = (flatten(each.configs[0].model_dump()) for each in (row, base))
    return {key for key in first if first[key] != second[key]}


def of_series(ablation: Ablation, series: str) -> list[AblationRow]:
    return [row for row in ablation.rows if row.series == series]


def test_each_switch_is_turned_alone_or_with_the_one_it_needs() -> None:
    ablation = planned()
    base, alone = ablation.rows[0], of_series(ablation, "alone")
    turned = [changes(row, base) for row in alone]
    assert {key for keys in turned for key in keys} | set(INERT) == {
        key for key in SWITCHES if SOUND[key] != flatten(base.configs[0].model_dump())[key]
    }
    assert [keys for keys in turned if len(keys) > 1] == [{"train.train_embedding", "model.tie_embedding"}]
    tied = next(row for row in alone if "model.tie_embedding" in changes(row, base))
    assert tied.against is not None
    assert changes(ablation.rows[tied.against], base) == {"train.train_embedding"}
    assert any("tie_embedding=true can't stand without train_embedding=true" in note for note in ablation.notes)
    assert {row.against for row in alone if row is not tied} == {0}


def test_added_up_each_line_turns_one_switch_more_up_to_sound() -> None:
    ablation = planned()
    base, together = ablation.rows[0], of_series(ablation, "together")
    for count, row in enumerate(together, start=1):
        assert len(changes(row, base)) == count
        assert row.against is not None
        assert len(changes(row, ablation.rows[row.against])) == 1
    last = flatten(together[-1].configs[0].model_dump())
    switches = {key: value for key, value in SWITCHES.items() if key not in INERT}
    assert {key: last[key] for key in switches} == switches
    assert any("full_batches=false is left out" in note for note in ablation.notes)


def test_the_same_config_is_one_run_and_every_run_has_a_name_of_its_own() -> None:
    ablation = planned(seeds=2, name="mine")
    plan = plan_of(ablation, ablation.names)
    assert len(set(plan.configs)) == len(plan.configs) == len(set(plan.names)) == len(ablation.names)
    assert {"mine-base-s42", "mine-base-s43", "mine-head-s42", "mine+head-s43"} <= set(plan.names)
    assert of_series(ablation, "together")[0].names == of_series(ablation, "alone")[0].names
    assert {config.seed for config in plan.configs} == {42, 43}


def test_runs_that_can_share_block_0_follow_one_another() -> None:
    from core.protocol.order import block0_origin

    ablation = planned(seeds=2)
    origins = [block0_origin(config, "") for config in plan_of(ablation, ablation.names).configs]
    switches = sum(first != second for first, second in pairwise(origins))
    assert switches == len(set(origins)) - 1 < len(origins) - 1


def test_what_is_as_in_sound_already_is_no_switch() -> None:
    ablation = planned("head=frozen", "train_embedding=true")
    assert not any("head" in row.label for row in ablation.rows)
    assert any(row.label == "tie_embedding=true" for row in ablation.rows)
    with pytest.raises(UsageError, match="nothing to ablate"):
        planned(*(f"{key}={json.dumps(value)}" for key, value in SOUND.items()))


def test_a_bad_name_or_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="--name"):
        planned(name="17")
    with pytest.raises(ConfigError, match=r"train\.lr"):
        planned("lr=-1")


def run_view(name: str, windows: Sequence[float], ppl: float = 100.0, **values: Any) -> RunView:
    figures = dict.fromkeys(FIGURES, ppl) | {SHALLOW_RATIO: 0.5, LAYER_SAVINGS: 0.25}
    view = RunView(name, "loss", 42, "finished", "print", "text", {}, figures, {FINAL_PPL: tuple(windows) * 12})
    return replace(view, **values)


def test_lines_have_means_over_seeds_and_differences_to_the_line_they_are_against() -> None:
    ablation = planned(seeds=2)
    views = {name: run_view(name, [2.0, 3.0], 100.0 + ("s43" in name)) for name in ablation.names}
    views["ablate-head-s42"] = run_view("ablate-head-s42", [1.0, 2.5])
    lines = {line.label: line for line in ablation_lines(ablation, views)}
    assert lines["seed protocol"].difference is None
    head = lines["head=frozen"].difference
    assert head is not None
    assert head.mean == pytest.approx(-0.375)
    assert not head.clear  # two seeds that differ by as much as the effect
    assert lines["exited_state=copy"].difference == Interval(0, 0, 0, "seeds and windows")
    value = lines["exited_state=copy"].values[3]
    assert value is not None
    assert (value.mean, value.deviation) == (100.5, pytest.approx(0.5**0.5))
    assert lines["tie_embedding=true (train_embedding)"].against == "train_embedding=true"
    assert lines["+ exited_state=copy"].against == "+ head=frozen"


def test_runs_that_are_missing_failed_or_of_other_text_have_no_difference() -> None:
    ablation = planned()
    views = {name: run_view(name, [2.0, 3.0]) for name in ablation.names}
    del views["ablate-head"]
    views["ablate-norm"] = run_view("ablate-norm", [], metrics={}, status="failed")
    views["ablate-split"] = run_view("ablate-split", [2.0, 3.0], fingerprint="other")
    lines = {line.label: line for line in ablation_lines(ablation, views)}
    assert (lines["head=frozen"].status, lines["head=frozen"].values) == ("missing", (None,) * 7)
    assert lines["norm=pre"].status == "failed"
    for label in ("head=frozen", "norm=pre", "split=contiguous"):
        assert lines[label].difference is None
    for width in (80, 120):
        assert "ablate-head: missing" in shown(ablation, views, width)


def shown(ablation: Ablation, views: dict[str, RunView], width: int) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(ablation_table(ablation, ablation_lines(ablation, views), width))
    return capture.get()


@pytest.mark.parametrize(("seeds", "room"), [(1, 122), (2, 184)])
def test_the_table_fits_its_width_and_json_has_it_all(seeds: int, room: int) -> None:
    ablation = planned(seeds=seeds)
    views = {name: run_view(name, [2.0, 3.0], 1000.0 + 100 * ("s43" in name)) for name in ablation.names}
    for width in (80, 100, 122, 184):
        text = shown(ablation, views, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert "+ train_embedding=true" in text
        assert ("one seed: 42" if seeds == 1 else "2 seeds: 42, 43") in text
        assert ("[+0.0000, +0.0000] ·" in text) == (width >= room)
    rows = json.loads(ablation_json(ablation, ablation_lines(ablation, views)))["rows"]
    assert len(rows) == len(ablation.rows)
    assert rows[1]["values"]["final_ppl"]["mean"] == (1000.0 if seeds == 1 else 1050.0)
    kind = "windows" if seeds == 1 else "seeds and windows"
    assert rows[1]["difference"] == {"low": 0, "mean": 0, "high": 0, "kind": kind}


def test_a_stored_run_of_another_config_is_not_taken_for_the_ablations(tmp_path: Path) -> None:
    ablation, path = planned(), tmp_path / "runs.db"
    base = ablation.rows[0].configs[0]
    here = base.model_copy(update={"machine": base.machine.model_copy(update={"device": "cpu", "threads": 2})})
    record = {"fingerprint": "f", "corpus": "text", "tokenizer": "bpe", "vocab_size": 9}
    with Writer(path) as store, Reader(path) as reader:
        store.create_experiment([NewRun("ablate-base", "loss", 42, "seed", here.model_dump_json(), record)])
        views, missing = stored_runs(ablation, reader)
        assert (set(views), len(missing)) == ({"ablate-base"}, len(ablation.names) - 1)
        with pytest.raises(UsageError, match=r"ablate-base is there already with train.max_epochs=50, not 3: .*--name"):
            stored_runs(planned("max_epochs=3"), reader)


@pytest.mark.soak
def test_an_ablation_trains_once_and_shows_again(tmp_path: Path, text: Path) -> None:
    tried = ("train.train_embedding", "model.tie_embedding", "train.head")
    others = Layer("the rest", {key: value for key, value in SOUND.items() if key not in tried})
    layers = [*map(set_layer, (*TINY, *TINY_TRAINING)), Layer("text", {"corpus": str(text)}), others]
    ablation = plan_ablation(layers, preset="tiny")
    path = tmp_path / "runs.db"
    with Writer(path) as store, Reader(path) as reader:
        _, missing = stored_runs(ablation, reader)
        prepared = prepare(plan_of(ablation, missing), store)
        assert set(run_experiment(prepared, store, lambda run, events: None)) == {"finished"}
        views, missing = stored_runs(ablation, reader)
    assert not missing
    lines = {line.label: line for line in ablation_lines(ablation, views)}
    assert all(None not in line.values for line in lines.values())
    frozen = lines["head=frozen"].values
    assert frozen[0] == frozen[1]  # later blocks do not change a frozen head
    assert lines["tiny protocol"].values[0] != lines["tiny protocol"].values[1]
    assert build([*layers, Layer("all", {key: SOUND[key] for key in tried})]) == ablation.rows[-1].configs[0]
