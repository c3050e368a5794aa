"""A diagnosis as Inspect and `eetui diagnose` show it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.analysis.diagnose_run import Diagnosed, diagnose_run
from core.store.files import delete_checkpoint
from core.store.reader import Reader
from eetui.inspection.diagnosis_text import diagnosis_json, diagnosis_lines, step_bar
from tests.analysed_runs import diagnosed
from tests.eetui.plain_text import plain_text
from tests.trained_run import train_run


def shown(run: Diagnosed, width: int) -> str:
    return plain_text(diagnosis_lines(run, width), width)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_what_is_shown_fits_its_width_and_names_the_repairs(path: Path, text: Path) -> None:
    found = diagnosed(path, text)
    for width in (80, 120):
        lines = shown(found, width).splitlines()
        assert max(map(len, lines)) <= width
        assert not any("…" in line for line in lines)
    repairs = ("train.split=contiguous", "train.head=frozen", "exit.hard_tokens=mask")
    for words in (*(f"Repair: {switch}" for switch in repairs), "Try: exit.exited_state=copy"):
        assert words in " ".join(shown(found, 200).split())
    repaired = replace(found, config=found.config.model_copy(
        update={"train": found.config.train.model_copy(update={"head": "frozen"})}
    ))  # fmt: skip
    assert "train.head=frozen is set." in " ".join(shown(repaired, 200).split())
    exact = replace(found, config=found.config.model_copy(
        update={"exit": found.config.exit.model_copy(update={"exited_state": "deferred"})}
    ))  # fmt: skip
    words = " ".join(shown(exact, 200).split())
    assert "exit.exited_state=deferred is set." in words
    assert "exited_state=copy" not in words


def test_json_has_both_ways_in_full(path: Path, text: Path) -> None:
    found = diagnosed(path, text)
    data = json.loads(diagnosis_json(found))
    assert sum(step["nats"] for step in data["steps"]) == pytest.approx(data["end"] - data["start"], abs=1e-9)
    assert [step["name"] for step in data["hard_tokens"]["steps"]] == ["split gap", "lost context", "exited state"]
    assert all(step["meaning"] and step["repair"] for step in (*data["steps"], *data["hard_tokens"]["steps"]))
    assert data["steps"][1]["block"] == 0


def test_a_later_heads_drift_names_its_block(path: Path, text: Path) -> None:
    found = diagnosed(path, text, block_layers=(1, 1, 1), hard_ratio=0.8)
    assert "Head drift, block 1" in shown(found, 80)


def test_what_was_not_measured_is_said_with_its_reason(path: Path, text: Path) -> None:
    number = train_run(path, text)
    delete_checkpoint(path, number)
    with Reader(path) as reader:
        found = diagnose_run(reader, number)
    assert "Lost context: not measured: no checkpoint" in shown(found, 80)
    assert "are gone or were never kept" in json.loads(diagnosis_json(found))["not_measured"]


@pytest.mark.parametrize("protocol", ["joint", "full_depth"])
def test_what_is_not_trained_in_stages_has_no_lost_context_and_no_drift(protocol: str, path: Path, text: Path) -> None:
    found = diagnosed(path, text, protocol=protocol)
    assert "Lost context: not measured: no block was trained on hard tokens alone" in shown(found, 80)
    assert "Head drift" not in shown(found, 80)


def test_bars_cover_what_changed_and_are_never_empty() -> None:
    assert step_bar(0, 1, 0, 1, 4) == "████"
    assert step_bar(0, 0.5, 0, 1, 4) == "██▌ "
    assert step_bar(0.5, 0.25, 0, 1, 4) == " █▌ "
    assert step_bar(1, 1, 0, 1, 4) == "   ▐"
    assert step_bar(1, 1, 1, 1, 4) == "▌   "
