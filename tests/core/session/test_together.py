"""Several processes train one run: the figures of one process, every event once, and one end for all."""

import multiprocessing
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import load_dataset
from core.errors import EetuiError
from core.events import Epoch, Event, Measured, Savings, Step, Threshold, Warned
from core.parallel.launch import Launch
from core.parallel.world import Together, joined
from core.protocol.order import EVALUATION
from core.protocol.resolve import resolve
from core.protocol.train import train
from core.session.together import Job, follow, led
from tests.core.backbones.tiny import save_tiny

Work = Callable[[Together], Any]
TINY = (
    "seq_len=4", "num_samples=60", "batch_size=4", "max_epochs=2", "machine.threads=1", "machine.device=cpu",
    "exit_epochs=1", "warmup_steps=0",
)  # fmt: skip
OWN = ("dim=8", "num_heads=2", "ffn_dim=16", "block_layers=1,1")


def make(text: Path, preset: str, *assignments: str) -> RunConfig:
    values = (*TINY, f"data.corpus={text}", *assignments)
    return resolve(build([preset_layer(preset), *map(set_layer, values)]))


def in_processes(*works: Work) -> list[Any]:
    """Do each work in a process of its own, joined with the others; return what they return, None for a killed one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forking, running = multiprocessing.get_context("fork"), []

    def begin(rank: int, work: Work, answer: Any) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with suppress(KeyboardInterrupt), joined(Launch(rank, len(works), rank, len(works))) as together:
            try:
                answer.send(work(together))
            except EetuiError as error:
                answer.send(error)

    for rank, work in enumerate(works):
        receive, answer = forking.Pipe(duplex=False)
        process = forking.Process(target=begin, args=(rank, work, answer), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            process.start()
        answer.close()
        running.append((process, receive))
    found = []
    for process, receive in running:
        try:
            found.append(receive.recv() if receive.poll(60) else TimeoutError())
        except EOFError:
            found.append(None)
        process.join(10)
        process.kill()
    return found


def leading(config: RunConfig, stop_after: int | None = None) -> Work:
    """Return the work of the first process: train a run, and return its events and what ended it."""

    def work(together: Together) -> tuple[list[Event], BaseException | None]:
        dataset = load_dataset(config.data, config.train.batch_size, config.model.source)
        job, events = Job(config.model_dump_json(), dataset.fingerprint, 1), list[Event]()
        running: Iterator[Event] = led(job, partial(train, config, dataset))
        try:
            for event in running:
                events.append(event)
                if len(events) == stop_after:
                    break
        except EetuiError as error:
            return events, error
        finally:
            del running  # parts from the others, where it was left
            together.dismiss()
        return events, None

    return work


def following(together: Together) -> str:
    follow(together, lambda: False)
    return "dismissed"


def alone(config: RunConfig) -> list[Event]:
    return list(train(config, load_dataset(config.data, config.train.batch_size, config.model.source)))


def figures(event: Event) -> dict[str, Any]:
    """Return what must be alike: everything but times."""
    timed = {"seconds", "histogram", "peak_memory", "peak_flops"}
    return {field.name: getattr(event, field.name) for field in fields(event) if field.name not in timed}


def require_alike(found: list[Event], expected: list[Event]) -> None:
    names = ([type(event).__name__ for event in events if not _is_of_time(event)] for events in (found, expected))
    assert next(names) == next(names)
    compared = (Epoch, Measured, Threshold)
    pairs = zip(*([e for e in events if isinstance(e, compared)] for events in (found, expected)), strict=True)
    for ours, theirs in pairs:
        for name, value in figures(theirs).items():
            assert getattr(ours, name) == (pytest.approx(value, rel=2e-4, abs=1e-5) if _is_number(value) else value), (
                ours
            )


def _is_of_time(event: Event) -> bool:
    """Whether a busy machine has it or not: time savings are measured in as many rounds as it takes, a step each."""
    timed = isinstance(event, Step) and event.stage == EVALUATION.name
    return timed or isinstance(event, Savings) or (isinstance(event, Warned) and "busy" in event.message)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], float))


@pytest.mark.parametrize(
    ("preset", "assignments"),
    [
        ("seed", ("method=loss",)),
        ("sound", ("method=gain", "dropout=0.2", "batch_size=3")),
        (
            "sound",
            ("protocol=joint", "method=loss", "dropout=0.2", "exits_from=2", "exit.policy=quantile", "batch_size=5"),
        ),
    ],
    ids=["staged", "sound", "joint"],
)
def test_two_processes_give_the_figures_of_one(text: Path, preset: str, assignments: tuple[str, ...]) -> None:
    config = make(text, preset, *OWN, *assignments)
    (events, error), end = in_processes(leading(config), following)
    assert (error, end) == (None, "dismissed")
    require_alike(events, alone(config))


@pytest.mark.soak
def test_a_pretrained_model_s_readouts_are_trained_together(tmp_path: Path, text: Path) -> None:
    pytest.importorskip("transformers")
    model = save_tiny(tmp_path / "model")
    config = make(text, "pretrained", f"model.source=hf:{model}", "block_layers=1,1,1", "method=gain", "seq_len=8")
    (events, error), _ = in_processes(leading(config), following)
    assert error is None
    own = alone(config)  # it finds the states in the cache
    require_alike(*([e for e in those if getattr(e, "stage", "") != "backbone"] for those in (events, own)))


@pytest.mark.soak
def test_a_stop_of_the_first_ends_all(text: Path) -> None:
    config = make(text, "seed", *OWN, "method=loss")

    (events, error), end = in_processes(leading(config, stop_after=5), following)
    assert (len(events), error, end) == (5, None, "dismissed")


def test_one_that_is_killed_ends_the_run_in_the_others(text: Path) -> None:
    config = make(text, "seed", *OWN, "method=loss")

    def die(together: Together) -> None:
        counted = iter(range(5))

        def stop() -> bool:
            if next(counted, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return False

        follow(together, stop)

    (events, error), nothing = in_processes(leading(config), die)
    assert nothing is None
    assert "a process of the run is gone" in str(error)
    assert len(events) > 1


def test_one_that_fails_or_is_stopped_says_so_to_the_first(text: Path, tmp_path: Path) -> None:
    config = make(text, "seed", *OWN, "method=loss")

    def other_text(together: Together) -> None:
        job = together.receive()
        lacking = config.data.model_copy(update={"corpus": str(tmp_path / "gone.txt")})
        jobs = iter([replace(job, config=config.model_copy(update={"data": lacking}).model_dump_json())])
        receive = together.receive
        together.receive = lambda: next(jobs, None) or receive()  # type: ignore[method-assign]
        follow(together, lambda: False)

    (_, error), _ = in_processes(leading(config), other_text)
    assert "process 1: CorpusError" in str(error)
    (_, error), _ = in_processes(leading(config), lambda together: follow(together, lambda: True))
    assert "one of the run's processes was stopped" in str(error)
