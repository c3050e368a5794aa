"""The diagnosis of a stored run: from the store and its checkpoint to what is shown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from core.analysis.diagnose_run import Diagnosed, diagnose_run
from core.config.run_config import Layer, build, set_layer
from core.errors import RunLookupError, UsageError
from core.session.plan import Plan
from core.session.prepare import prepare
from core.session.run import run_experiment
from core.store.files import delete_checkpoint
from core.store.reader import Reader
from core.store.writer import NewRun, Writer
from eetui.inspection.diagnosis_text import bar, diagnosis_json, diagnosis_lines
from tests.conftest import TINY, TINY_TRAINING


def trained(path: Path, text: Path, **values: Any) -> int:
    """Train a tiny run into a database of its own; its number."""
    config = build([*map(set_layer, (*TINY, *TINY_TRAINING)), Layer("test", {"corpus": str(text), **values})])
    with Writer(path) as store:
        prepared = prepare(Plan((config,), (None,)), store)
        assert run_experiment(prepared, store, lambda run, events: None) == ["finished"]
    return prepared.runs[0]


def diagnosed(path: Path, text: Path, **values: Any) -> Diagnosed:
    number = trained(path, text, **values)
    with Reader(path) as reader:
        return diagnose_run(reader, number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def shown(run: Diagnosed, width: int) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(diagnosis_lines(run, width))
    return capture.get()


@pytest.mark.parametrize("hard_tokens", ["repack", "mask"])
@pytest.mark.parametrize("exited_state", ["input", "copy", "drop"])
def test_the_last_blocks_way_ends_where_the_hard_tokens_of_early_exit_do(
    hard_tokens: str, exited_state: str, path: Path, text: Path
) -> None:
    """So its mismatch, on its share of the tokens, is that of the whole run: the others are predicted as they were."""
    found = diagnosed(path, text, hard_tokens=hard_tokens, exited_state=exited_state)
    hard = found.hard_tokens
    assert hard is not None, found.not_measured
    names = [step.name for step in hard.waterfall.steps]
    assert names == ["split gap", "lost context", *(["exited state"] if hard_tokens == "repack" else [])]
    whole = found.diagnosis.waterfall.steps[-1]
    if hard_tokens == "mask":
        assert hard.share == pytest.approx(found.diagnosis.exit_shares[-1])
        assert hard.waterfall.steps[-1].nats == pytest.approx(0, abs=1e-5)
    elif hard.share == found.diagnosis.exit_shares[-1]:
        assert hard.share * hard.waterfall.steps[-1].nats == pytest.approx(whole.nats, abs=1e-5)
    steps = hard.waterfall.steps
    assert sum(step.nats for step in steps) == pytest.approx(hard.waterfall.total, abs=1e-9)


def test_hard_tokens_are_packed_as_in_training(path: Path, text: Path) -> None:
    """Against a plain packing: the last block's loss on the packed states of block 0."""
    import torch
    import torch.nn.functional as F

    from core.protocol.checkpoint import Checkpoint, load_model

    number = trained(path, text)
    with Reader(path) as reader:
        found, row, state = diagnose_run(reader, number), reader.run(number), reader.state(number)
        tokens, evaluated = reader.token_statistics(number), reader.text(row["record"]["fingerprint"])
    assert found.hard_tokens is not None
    assert evaluated is not None
    checkpoint = Checkpoint.of_run(path, number, found.config, row["record"]["fingerprint"])
    model = load_model(found.config, row["record"]["vocab_size"], checkpoint)
    stage = state.stage("hard tokens", 0)
    assert stage is not None
    assert stage.threshold is not None
    hard = torch.tensor(tokens[0].signal) < stage.threshold.threshold
    count = len(hard)
    inputs, targets = torch.tensor(evaluated.inputs[:count]).long(), torch.tensor(evaluated.targets[:count]).long()
    with torch.no_grad():
        states = model.blocks[0](model.embed(inputs.view(-1, 4))).flatten(0, 1)[hard]
        packed = states[: len(states) // 4 * 4].view(-1, 4, 8)
        logits = model.blocks[1](packed).flatten(0, 1) @ model.head_weight(1).T
        loss = F.cross_entropy(logits, targets[hard][: len(logits)])
    assert found.hard_tokens.waterfall.steps[0].after == pytest.approx(float(loss), abs=1e-5)


def test_three_blocks_have_a_last_blocks_way_too(path: Path, text: Path) -> None:
    found = diagnosed(path, text, block_layers=(1, 1, 1), hard_ratio=0.8)
    assert found.hard_tokens is not None
    assert 0 < found.hard_tokens.share <= found.diagnosis.exit_shares[-1]
    assert "Head drift, block 1" in shown(found, 80)
    assert np.isfinite([step.nats for step in found.hard_tokens.waterfall.steps]).all()


def test_without_a_checkpoint_all_else_is_there(path: Path, text: Path) -> None:
    number = trained(path, text)
    with Reader(path) as reader:
        before = diagnose_run(reader, number)
        delete_checkpoint(path, number)
        after = diagnose_run(reader, number)
    assert after.diagnosis == before.diagnosis
    assert after.hard_tokens is None
    assert "Lost context: not measured: no checkpoint" in shown(after, 80)
    assert "are gone or were never kept" in json.loads(diagnosis_json(after))["not_measured"]


@pytest.mark.parametrize("protocol", ["joint", "full_depth"])
def test_what_is_not_trained_in_stages_has_no_lost_context(protocol: str, path: Path, text: Path) -> None:
    found = diagnosed(path, text, protocol=protocol)
    assert "Lost context: not measured: no block was trained on hard tokens alone" in shown(found, 80)
    assert "Head drift" not in shown(found, 80)


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


def test_json_has_both_ways_in_full(path: Path, text: Path) -> None:
    found = diagnosed(path, text)
    data = json.loads(diagnosis_json(found))
    assert sum(step["nats"] for step in data["steps"]) == pytest.approx(data["end"] - data["start"], abs=1e-9)
    assert [step["name"] for step in data["hard_tokens"]["steps"]] == ["split gap", "lost context", "exited state"]
    assert all(step["meaning"] and step["repair"] for step in (*data["steps"], *data["hard_tokens"]["steps"]))
    assert data["steps"][1]["block"] == 0


def test_bars_cover_what_changed_and_are_never_empty() -> None:
    assert bar(0, 1, 0, 1, 4) == "████"
    assert bar(0, 0.5, 0, 1, 4) == "██▌ "
    assert bar(0.5, 0.25, 0, 1, 4) == " █▌ "
    assert bar(1, 1, 0, 1, 4) == "   ▐"
    assert bar(1, 1, 1, 1, 4) == "▌   "


def test_a_run_without_statistics_says_so(path: Path) -> None:
    with Writer(path) as writer:
        (queued,) = writer.create_experiment([NewRun("waits", "loss", 1, None, "{}", {"fingerprint": "none"})])
    with Reader(path) as reader:
        with pytest.raises(UsageError, match=r"waits keeps no statistics of its tokens \(queued\)"):
            diagnose_run(reader, queued)
        with pytest.raises(RunLookupError):
            diagnose_run(reader, 99)
