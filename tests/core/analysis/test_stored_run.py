"""Stored runs as analyses read them, and errors where something is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.analysis.stored_run import evaluated_tokens, exit_savings, exiting_tokens, own_thresholds, stored_run
from core.config.run_config import Layer, RunConfig, build
from core.errors import RunLookupError, UsageError
from core.events import Event, RunStarted, StageStarted, Threshold
from core.protocol.order import EVALUATION, block_stage
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from tests.stored_tokens import SEQ_LEN, store_run
from tests.trained_run import train_run


def config(**values: Any) -> RunConfig:
    return build([Layer("test", {"block_layers": (1, 1, 2), **values})])


def set_exits(*thresholds: float, ahead: bool = False) -> RunState:
    """Return a run that has set its exits in turn, and a second time with `ahead`; it may not have set all of them."""
    blocks = (0, 1, 2)
    stages = [block_stage(block, "hard") for block in blocks]
    stages += [block_stage(block, "threshold") for block in blocks[:-1]] if ahead else []

    def events() -> Iterator[Event]:
        yield RunStarted((*stages, EVALUATION), 1, 1, 1, (1, 1, 2), 1)
        for stage, value in zip(stages, thresholds, strict=False):
            assert stage.block is not None
            yield StageStarted(stage.name, stage.kind, stage.block, 1, 1, 1)
            yield Threshold(stage.name, stage.block, value, 10, 5, (0,) * 50)

    return reduce_all(RunState(), events())


def test_own_thresholds_are_the_latest_of_each_exit_and_the_last_block_has_none() -> None:
    assert own_thresholds(set_exits(0.1, 0.2, 0.3), config()) == (0.1, 0.2)
    assert own_thresholds(set_exits(0.1, 0.2, 0.3, 0.4, 0.5, ahead=True), config()) == (0.4, 0.5)


def test_a_run_without_exits_has_no_thresholds() -> None:
    assert own_thresholds(RunState(), config(protocol="full_depth")) == ()
    assert own_thresholds(RunState(), config(block_layers=(2,))) == ()


@pytest.mark.parametrize("state", [RunState(), set_exits(0.1), set_exits(0.1, 0.2, 0.3, 0.4, ahead=True)])
def test_thresholds_that_are_missing_say_so(state: RunState) -> None:
    with pytest.raises(UsageError, match="run has not set its thresholds yet: only a finished run"):
        own_thresholds(state, config())


def test_a_trained_run_decides_by_its_thresholds_as_it_was_measured(path: Path, text: Path) -> None:
    """With one exit every token attends to its whole context when it exits; gain sets that exit twice."""
    number = train_run(path, text, method="gain")
    with Reader(path) as reader:
        run = stored_run(reader, number)
        table, evaluated = evaluated_tokens(reader, run)
        assert exiting_tokens(reader, run).tokens == table.tokens
    assert (run.number, run.status, run.config.method) == (number, "finished", "gain")
    assert run.state.final is not None
    assert table.exit_shares(table.left_at(run.thresholds)) == pytest.approx(run.state.final.exit_shares)
    assert table.inputs.tolist() == list(evaluated.inputs)[: table.tokens]
    assert exit_savings(run).layers == (0.5, 0.0)


def test_a_run_trained_to_its_full_depth_has_tokens_but_no_exits(path: Path, text: Path) -> None:
    number = train_run(path, text, protocol="full_depth")
    with Reader(path) as reader:
        run = stored_run(reader, number)
        table, _ = evaluated_tokens(reader, run)
        with pytest.raises(UsageError, match="trained without exits"):
            exiting_tokens(reader, run)
    assert (table.blocks, table.exits, run.thresholds) == (2, 0, ())


def test_one_block_has_no_exit(path: Path) -> None:
    number = store_run(path, windows=3, blocks=1)
    with Reader(path) as reader:
        run = stored_run(reader, number)
        assert evaluated_tokens(reader, run)[0].tokens == 3 * SEQ_LEN
        with pytest.raises(UsageError, match="one block only"):
            exiting_tokens(reader, run)


def test_a_run_without_statistics_says_so(path: Path) -> None:
    with Writer(path) as writer:
        (queued,) = writer.create_experiment([NewRun("waits", "loss", 1, None, "{}", {"fingerprint": "none"})])
    with Reader(path) as reader:
        with pytest.raises(UsageError, match=r"waits keeps no statistics of its tokens \(queued\)"):
            evaluated_tokens(reader, stored_run(reader, queued))
        with pytest.raises(RunLookupError):
            stored_run(reader, 99)
