"""Stages that runs share through a folder: trained once, wherever and whenever, to the bits that each would have."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Event, StageStarted, Step, Warned
from core.protocol.memory import StageMemory
from core.protocol.stage_key import stage_keys
from core.session import run as session
from core.state import Status
from core.store.files import stages_folder
from core.store.lock import holding
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.protocol.bench import Bench, assert_same
from tests.core.session.listeners import ignore
from tests.core.training import SOUND, MakeConfig, of


@pytest.fixture
def bench(writer: Writer, reader: Reader, tiny_dataset: Dataset) -> Bench:
    return Bench(writer, reader, tiny_dataset)


@pytest.fixture
def folder(path: Path) -> Path:
    return stages_folder(path)


def share(bench: Bench, config: RunConfig, number: int) -> None:
    """Let a run be one of a sweep that shares all its stages."""
    stages = json.dumps(stage_keys(config, bench.dataset.fingerprint))
    with bench.writer.transaction() as connection:
        connection.execute("INSERT OR IGNORE INTO sweeps VALUES (1, 'sweep', '{}', 0)")
        connection.execute("INSERT INTO sweep_cells VALUES (?, 1, 0, '{}', '', ?)", [number, stages])


def go(
    bench: Bench, config: RunConfig, number: int, stop: session.ShouldStop = lambda: False
) -> tuple[Status, list[Event]]:
    """Run a run as a process of its own would: it shares a folder with others, and no memory."""
    seen: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        seen.extend(events)

    share(bench, config, number)
    return session.run(config, bench.dataset, StageMemory(), number, bench.writer, publish, stop), seen


def trained(events: Sequence[Event]) -> list[str]:
    stages = [event for event in of(StageStarted, events) if event.kind in ("lm", "exit classifier")]
    return [stage.stage for stage in stages if not stage.reused]


def test_what_one_run_trained_another_takes(bench: Bench, tiny_config: MakeConfig) -> None:
    one, other = (tiny_config("loss", hard_ratio=share, **SOUND) for share in (0.4, 0.6))
    first, second, alone = (bench.queue(config) for config in (one, other, other))
    assert trained(go(bench, one, first)[1]) == ["block0.lm", "block0.exit", "block1.lm"]
    assert trained(go(bench, other, second)[1]) == ["block1.lm"]
    bench.run(other, alone)
    assert_same(bench.weights(other, second), bench.weights(other, alone))


def test_another_run_goes_on_where_one_was_stopped(bench: Bench, tiny_config: MakeConfig) -> None:
    one, other = (tiny_config(method, **SOUND) for method in ("loss", "distill"))
    first, second, alone = (bench.queue(config) for config in (one, other, other))
    seen: list[Step] = []

    real = session.train

    def watched(*arguments: object) -> object:
        for event in real(*arguments):  # type: ignore[arg-type]
            if isinstance(event, Step) and event.epoch == 3:
                seen.append(event)
            yield event

    share(bench, one, first)
    arguments = (one, bench.dataset, StageMemory(), first, bench.writer, ignore, lambda: bool(seen))
    status = session.run(*arguments, training=watched)  # type: ignore[arg-type]
    assert status == "interrupted"
    events = go(bench, other, second)[1]
    steps = {event.epoch for event in of(Step, events) if event.stage == "block0.lm"}
    assert steps == {3}
    bench.run(other, alone)
    assert_same(bench.weights(other, second), bench.weights(other, alone))


def test_runs_at_once_train_a_stage_once(bench: Bench, folder: Path, tiny_config: MakeConfig) -> None:
    configs = [tiny_config(method, **SOUND) for method in ("loss", "distill", "softmax")]
    runs = [bench.queue(config) for config in configs]
    found: dict[int, list[Event]] = {}

    def work(config: RunConfig, number: int) -> None:
        found[number] = go(bench, config, number)[1]

    threads = [threading.Thread(target=work, args=pair) for pair in zip(configs, runs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stage for events in found.values() for stage in trained(events)).count("block0.lm") == 1
    assert not list(folder.glob("*.lock"))


def test_a_run_that_waits_for_a_stage_can_be_stopped(bench: Bench, folder: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("loss", **SOUND)
    key, number, asked = stage_keys(config, bench.dataset.fingerprint)["block0.lm"], bench.queue(config), list[int]()

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    folder.mkdir()
    with holding(folder / f"{key}.lock", lambda holder: None):
        status, events = go(bench, config, number, stop)
    assert status == "interrupted"
    assert any("waits for block0.lm, which process" in event.message for event in of(Warned, events))


def test_a_damaged_stage_is_trained_again(bench: Bench, folder: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("loss", **SOUND)
    first, second = bench.queue(config), bench.queue(config)
    go(bench, config, first)
    file = folder / stage_keys(config, bench.dataset.fingerprint)["block0.lm"] / "block0.lm.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\1\2\3")
    assert trained(go(bench, config, second)[1]) == ["block0.lm"]
    assert file.read_bytes()[-4:] == whole[-4:]
    assert_same(bench.weights(config, second), bench.weights(config, first))
