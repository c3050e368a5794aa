"""The diagnosis of a stored run, from the store and its checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from core.analysis.diagnose_run import diagnose_run
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.errors import RunLookupError, UsageError
from core.store.files import delete_checkpoint
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.inspection.diagnosis_text import explanations
from tests.analysed_runs import diagnosed
from tests.trained_run import train_run


@pytest.mark.parametrize("hard_tokens", ["repack", "mask"])
@pytest.mark.parametrize("exited_state", ["input", "copy", "drop"])
def test_the_last_blocks_way_ends_where_the_hard_tokens_of_early_exit_do(
    hard_tokens: str, exited_state: str, path: Path, text: Path
) -> None:
    """Its mismatch, times its share of the tokens, is that of the whole run: all other predictions are the same."""
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


def test_another_run_on_the_same_tokens_with_other_windows_changes_nothing(path: Path, text: Path) -> None:
    """A text shorter than `num_samples` has the same tokens whatever `seq_len`; the windows are each run's own."""
    first = train_run(path, text, method="softmax", max_epochs=1, num_samples=3000, seq_len=4)
    with Reader(path) as reader:
        before, table = diagnose_run(reader, first), evaluated_tokens(reader, stored_run(reader, first))[0]
    second = train_run(path, text, method="softmax", max_epochs=1, num_samples=3000, seq_len=2)
    with Reader(path) as reader:
        runs = [stored_run(reader, number) for number in (first, second)]
        assert runs[0].record["fingerprint"] == runs[1].record["fingerprint"]
        tables = [evaluated_tokens(reader, run)[0] for run in runs]
        after = diagnose_run(reader, first)
    assert (after.diagnosis, after.hard_tokens) == (before.diagnosis, before.hard_tokens)
    assert [found.seq_len for found in tables] == [4, 2]
    assert tables[0].windows == table.windows


@pytest.mark.parametrize("blocks", [(1, 1), (1, 1, 1)])
def test_shares_worked_out_and_measured_are_told_apart(blocks: tuple[int, ...], path: Path, text: Path) -> None:
    found = diagnosed(path, text, block_layers=blocks, exited_state="input", hard_ratio=0.5)
    worked_out, measured = found.diagnosis.exit_shares, found.diagnosis.measured_shares
    assert sum(measured) == pytest.approx(1)
    assert worked_out[0] == pytest.approx(measured[0])
    words = " ".join(explanations(found, 10_000))
    assert "(worked out)" in words
    moved = abs(worked_out[1] - measured[1]) >= 0.0005
    assert (found.diagnosis.moved, "(measured)" in words, "Exited state and exits" in words) == (moved,) * 3
    steps = {(step.name, step.block): step.worked_out for step in found.diagnosis.waterfall.steps}
    assert [name for name, guess in steps.items() if not guess] == [
        ("split gap", None), ("head drift", 0), ("exited state", None)
    ]  # fmt: skip


def test_hard_tokens_are_packed_as_in_training(path: Path, text: Path) -> None:
    """The last block's loss equals that on the plainly packed states of block 0."""
    import torch
    import torch.nn.functional as F

    from core.protocol.checkpoint import Checkpoint, load_model

    number = train_run(path, text)
    with Reader(path) as reader:
        found, run = diagnose_run(reader, number), stored_run(reader, number)
        table, _ = evaluated_tokens(reader, run)
    assert found.hard_tokens is not None
    checkpoint = Checkpoint.of_run(path, number, found.config, run.record["fingerprint"], run.created)
    model = load_model(found.config, run.record["vocab_size"], checkpoint)
    hard = torch.tensor(table.signal[0]) < run.thresholds[0]
    inputs, targets = torch.tensor(table.inputs).long(), torch.tensor(table.targets).long()
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
    assert ("head drift", 1) in [(step.name, step.block) for step in found.diagnosis.waterfall.steps]
    assert np.isfinite([step.nats for step in found.hard_tokens.waterfall.steps]).all()


def test_without_a_checkpoint_all_else_is_there(path: Path, text: Path) -> None:
    number = train_run(path, text)
    with Reader(path) as reader:
        before = diagnose_run(reader, number)
        delete_checkpoint(path, number)
        after = diagnose_run(reader, number)
    assert after.diagnosis == before.diagnosis
    assert after.hard_tokens is None
    assert after.not_measured.startswith("no checkpoint")
    assert "are gone or were never kept" in after.not_measured


@pytest.mark.parametrize("protocol", ["joint", "full_depth"])
def test_what_is_not_trained_in_stages_has_no_lost_context(protocol: str, path: Path, text: Path) -> None:
    found = diagnosed(path, text, protocol=protocol)
    assert found.not_measured == "no block was trained on hard tokens alone"
    assert "head drift" not in [step.name for step in found.diagnosis.waterfall.steps]


def test_a_run_without_statistics_says_so(path: Path) -> None:
    with Writer(path) as writer:
        (queued,) = writer.create_experiment([NewRun("waits", "loss", 1, None, "{}", {"fingerprint": "none"})])
    with Reader(path) as reader:
        with pytest.raises(UsageError, match=r"waits keeps no statistics of its tokens \(queued\)"):
            diagnose_run(reader, queued)
        with pytest.raises(RunLookupError):
            diagnose_run(reader, 99)
