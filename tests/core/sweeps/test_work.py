"""Workers: every run of a sweep once, no stage trained twice, whoever dies, and the bits of runs trained alone."""

import os
import time
from array import array
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from core.config.run_config import Layer, build
from core.config.stored import completed
from core.data.windows import load_dataset
from core.events import Epoch, Measured, Threshold
from core.protocol.train import train
from core.state import Status
from core.store.files import stages_folder
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.sweeps import wait_again
from core.store.writer import Writer
from core.sweeps.spec import Spec
from core.sweeps.work import Worker
from tests.core.session.listeners import ignore
from tests.core.sweeps.conftest import completed_trainings, stored
from tests.core.training import numbers
from tests.forked import Forked

WORK = """
import sys
from pathlib import Path
import torch
from core.evaluation import timing
from core.machine import device
timing.SECONDS = device.PEAK_SECONDS = 0.0
torch.set_num_threads(1)
from core.store.writer import Writer
from core.sweeps.work import Worker
with Writer(Path(sys.argv[1])) as store:
    Worker(store, int(sys.argv[2]), lambda run, events: None).work()
"""
MakeSpec = Callable[..., Spec]


def start(path: Path, sweep: int) -> Forked:
    return Forked(["-c", WORK, str(path), str(sweep)], os.environ, Path(__file__).parents[3])


def finished(reader: Reader, sweep: int) -> int:
    return sum(cell["status"] == "finished" for cell in cells_of(reader, sweep))


def wait_for(reader: Reader, sweep: int, runs: int) -> None:
    until = time.monotonic() + 110
    while finished(reader, sweep) < runs:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_sweep_that_is_killed_twice_has_every_run_once_and_trains_no_stage_twice(
    writer: Writer, reader: Reader, path: Path, make_spec: MakeSpec
) -> None:
    sweep = stored(writer, make_spec(("loss", "distill", "softmax"), 2, hard_ratio="0.3,0.7"))
    with closing(start(path, sweep)) as one, closing(start(path, sweep)):
        wait_for(reader, sweep, 2)
        one.kill()
        wait_for(reader, sweep, 5)
    Worker(writer, sweep, ignore).work()
    assert finished(reader, sweep) == 12
    trainings = completed_trainings(reader, sweep)
    assert set(trainings.values()) == {1}
    assert len(trainings) == 2 * (1 + 2 + 6)  # by seed: one block 0, classifiers of two methods, six blocks 1
    for cell in cells_of(reader, sweep)[::5]:
        assert same_as_alone(reader, cell["id"])


def same_as_alone(reader: Reader, run: int) -> bool:
    """Whether a run's figures are those of its config trained alone, bit for bit."""
    config = build([Layer("run", completed(reader.run(run)["config"]))])
    dataset = load_dataset(config.data, config.train.batch_size, config.model.source)
    alone = [event for event in numbers(train(config, dataset)) if isinstance(event, Epoch | Threshold | Measured)]
    stored = [event for event in numbers(reader.events(run, steps=False)[0]) if isinstance(event, Epoch | Threshold)]
    ends = {(event.stage, getattr(event, "epoch", 0)): event for event in stored}
    early = next(event for event in alone if isinstance(event, Measured) and event.way == "early exit")
    return [*ends.values()] == [event for event in alone if not isinstance(event, Measured)] and [
        *reader.window_losses(run, "early exit")
    ] == [*array("f", early.window_losses or ())]


def test_what_a_run_can_not_do_is_no_matter_to_the_others(
    writer: Writer, reader: Reader, make_spec: MakeSpec, words: Path
) -> None:
    sweep = stored(writer, make_spec(lr="0.01,1e37"))
    assert sorted(Worker(writer, sweep, ignore).work().values()) == ["failed", "finished"]
    assert wait_again(writer, sweep) == [cell["id"] for cell in cells_of(reader, sweep) if cell["status"] == "queued"]
    words.write_text("another text now " * 300)
    statuses = Worker(writer, sweep, ignore).work()
    assert [*statuses.values()] == ["failed"]
    assert "is no longer the text" in str(reader.run(next(iter(statuses)))["error"])


def test_a_worker_that_is_told_to_stop_leaves_its_run_in_the_queue(
    writer: Writer, reader: Reader, make_spec: MakeSpec
) -> None:
    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5"))
    seen: list[int] = []
    stopped = Worker(writer, sweep, lambda run, events: seen.append(run), should_stop=lambda: len(seen) > 3)
    assert [*stopped.work().values()] == ["interrupted"]
    statuses: dict[int, Status] = Worker(writer, sweep, ignore).work(slots=2)
    assert [*statuses.values()] == ["finished", "finished"]
    assert set(completed_trainings(reader, sweep).values()) == {1}
    assert stages_folder(writer.path).is_dir()
