"""Runs experiments: drains `protocol.train` into the store first and to the listener second.

Where it runs is the caller's choice: the console gives it a worker thread, the command line the main one.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.config import RunConfig
from core.data.windows import Dataset, load_dataset
from core.errors import TrainingError, UsageError
from core.events import Event, RunFailed, RunFinished, RunInterrupted, Step
from core.machine import resolve
from core.protocol import StageMemory, train
from core.record import reproduction_record
from core.state import RunState, Status, reduce
from core.store.writer import NewRun, Writer

BATCH_SECONDS = 0.1
"""Steps are stored and published at most this often; anything rarer goes at once."""

Publish = Callable[[int, Sequence[Event]], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Plan:
    """An experiment to run: one config a run, all on one corpus, with their names (None: made from the number)."""

    configs: tuple[RunConfig, ...]
    names: tuple[str | None, ...]
    preset: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A plan whose corpus was read and whose runs are queued in the store."""

    configs: tuple[RunConfig, ...]
    runs: tuple[int, ...]
    dataset: Dataset


def prepare(plan: Plan, store: Writer) -> Prepared:
    """Check everything that can be checked before training, then queue the runs.

    Raises:
        UsageError: the corpus, a device or a name is no good; nothing is stored.
    """
    configs = tuple(resolve(config) for config in plan.configs)
    if any(
        config.data != configs[0].data or config.train.batch_size != configs[0].train.batch_size for config in configs
    ):
        raise UsageError("the runs of an experiment must share their data and batch size")
    dataset = load_dataset(configs[0].data, configs[0].train.batch_size)
    runs = store.create_experiment(
        [
            NewRun(
                name=name,
                method=config.method,
                seed=config.seed,
                preset=plan.preset,
                config=config.model_dump_json(),
                record=reproduction_record(config, dataset),
                tags=plan.tags,
            )
            for config, name in zip(configs, plan.names, strict=True)
        ]
    )
    return Prepared(configs, tuple(runs), dataset)


def run_experiment(
    prepared: Prepared, store: Writer, publish: Publish, should_stop: ShouldStop = lambda: False
) -> list[Status]:
    """Run all runs in order, sharing what does not depend on the method; how each ended.

    A run that fails does not keep the others from running. When stopped, the runs still queued are interrupted too.
    """
    memory = StageMemory()
    return [
        run(config, prepared.dataset, memory, number, store, publish, should_stop)
        for config, number in zip(prepared.configs, prepared.runs, strict=True)
    ]


def run(
    config: RunConfig,
    dataset: Dataset,
    memory: StageMemory,
    number: int,
    store: Writer,
    publish: Publish,
    should_stop: ShouldStop,
) -> Status:
    """Drain one run; exactly one terminal event ends it. How it ended."""
    began = time.perf_counter()
    outbox = _Outbox(number, store, publish)
    if should_stop():
        outbox.put(RunInterrupted("stopped before it began", 0.0))
        return outbox.state.status
    events = train(config, dataset, memory)
    try:
        for event in events:
            outbox.put(event)
            if should_stop() and not isinstance(event, RunFinished):
                outbox.put(RunInterrupted("stopped by the user", time.perf_counter() - began))
                break
    except TrainingError as error:
        outbox.put(RunFailed(str(error), "", time.perf_counter() - began))
    except BaseException as error:
        if outbox.state.status not in ("queued", "running"):  # the run had ended; what broke is the listener
            raise
        message = f"{type(error).__name__}: {error}"
        if not isinstance(error, Exception):
            outbox.put(RunInterrupted(message, time.perf_counter() - began))
            raise
        outbox.put(RunFailed(message, traceback.format_exc(), time.perf_counter() - began))
    return outbox.state.status


class _Outbox:
    """Hands events on in batches, to the store and then to the listener."""

    def __init__(self, run: int, store: Writer, publish: Publish) -> None:
        self.run, self.store, self.publish = run, store, publish
        self.state = RunState()
        self._waiting: list[Event] = []
        self._sent = 0.0

    def put(self, event: Event) -> None:
        self._waiting.append(event)
        self.state = reduce(self.state, event)
        if not isinstance(event, Step) or time.monotonic() - self._sent >= BATCH_SECONDS:
            self._send()

    def _send(self) -> None:
        batch = self._waiting
        self.store.append(self.run, batch, self.state)
        self._waiting = []  # only now: what could not be stored is stored with the next batch
        self.publish(self.run, batch)
        self._sent = time.monotonic()
