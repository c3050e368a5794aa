"""Runs experiments: drains `protocol.train` into the store first and to the listener second.

Where it runs is the caller's choice: the console gives it a worker thread, the command line the main one.
"""

import threading
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

import torch

from core.config.dotted_names import flatten
from core.config.run_config import Layer, RunConfig, build
from core.data.windows import Dataset, load_dataset
from core.errors import TrainingError, UsageError
from core.events import Event, RunFailed, RunFinished, RunInterrupted, Step, TerminalEvent
from core.machine.clock import PAUSED, UNPROFILED, Clock, Stopwatch
from core.machine.device import waiter
from core.protocol.checkpoint import Checkpoint
from core.protocol.resolve import resolve
from core.protocol.train import StageMemory, train
from core.session.plan import Plan as Plan  # part of what a session offers
from core.session.provenance import reproduction_record
from core.state import RunState, Status, reduce_all
from core.store.reader import Reader
from core.store.tokens import EvaluationText
from core.store.writer import NewRun, Writer

BATCH_SECONDS = 0.1
"""Steps are stored and published at most this often; anything rarer goes at once."""

HEARTBEAT_SECONDS = 60.0
"""Runs that wait for their turn show at most this often that they are not forgotten."""

Publish = Callable[[int, Sequence[Event]], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Prepared:
    """A plan whose corpus was read and whose runs are queued in the store."""

    configs: tuple[RunConfig, ...]
    runs: tuple[int, ...]
    dataset: Dataset
    profile: bool = False


def prepare(plan: Plan, store: Writer) -> Prepared:
    """Check everything that can be checked before training, then queue the runs.

    Raises:
        UsageError: the corpus, a device or a name is no good; nothing is stored.
    """
    configs = tuple(resolve(config) for config in plan.configs)
    dataset = _shared_dataset(configs)
    runs = store.create_experiment(
        [
            NewRun(
                name=name,
                method=config.method,
                seed=config.seed,
                preset=plan.preset,
                config=config.model_dump_json(),
                record=reproduction_record(config, dataset) | {"profile": plan.profile},
                tags=plan.tags,
            )
            for config, name in zip(configs, plan.names, strict=True)
        ]
    )
    store.keep_text(dataset.fingerprint, _evaluation_text(dataset))
    return Prepared(configs, tuple(runs), dataset, plan.profile)


def prepare_resume(runs: Sequence[int], store: Writer) -> Prepared:
    """Queue runs that were interrupted or failed once more, to go on from their checkpoints.

    Raises:
        UsageError: one of them is not there, has finished or is live, its corpus changed or a device is gone, or they
            do not share their data; nothing is changed.
    """
    with Reader(store.path) as reader:
        rows = [reader.run(number) for number in sorted(set(runs))]
    for row in rows:
        if row["status"] not in ("interrupted", "failed"):
            raise UsageError(
                f"{row['name']} (run {row['id']}) is {row['status']}: only a run that was interrupted or failed can be "
                f"resumed; to train it again, start a new one with eetui run"
            )
    configs = tuple(resolve(build([Layer(f"run {row['id']}", flatten(row["config"]))])) for row in rows)
    dataset = _shared_dataset(configs)
    for row in rows:
        if row["record"].get("fingerprint") != dataset.fingerprint:
            raise UsageError(
                f"the corpus {configs[0].data.corpus} is no longer the text that {row['name']} (run {row['id']}) was "
                f"trained on: restore it, or start a new run with eetui run"
            )
    numbers = tuple(int(row["id"]) for row in rows)
    store.requeue(numbers)
    store.keep_text(dataset.fingerprint, _evaluation_text(dataset))
    return Prepared(configs, numbers, dataset, any(row["record"].get("profile") for row in rows))


def _shared_dataset(configs: Sequence[RunConfig]) -> Dataset:
    """The dataset of all these configs.

    Raises:
        UsageError: there are none, or they do not agree on one; or it can't be had.
    """
    if not configs:
        raise UsageError("an experiment needs at least one run")
    data, batch_size = configs[0].data, configs[0].train.batch_size
    if any(config.data != data or config.train.batch_size != batch_size for config in configs):
        raise UsageError("the runs of an experiment must share their data and batch size")
    return load_dataset(data, batch_size)


def _evaluation_text(dataset: Dataset) -> EvaluationText:
    windows, vocabulary = dataset.evaluation, dataset.vocabulary
    stream = array("i", [*windows.inputs.flatten().tolist(), int(windows.targets[-1, -1])])
    return EvaluationText(windows.inputs.shape[1], vocabulary.tokens(range(vocabulary.size)), stream)


def run_experiment(
    prepared: Prepared, store: Writer, publish: Publish, should_stop: ShouldStop = lambda: False
) -> list[Status]:
    """Run all runs in order, sharing what does not depend on the method; how each ended.

    A run that fails does not keep the others from running. When stopped, the runs still queued are interrupted too.
    """
    memory = StageMemory()
    statuses: list[Status] = []
    for position, (config, number) in enumerate(zip(prepared.configs, prepared.runs, strict=True), start=1):
        listener = _keeping_alive(prepared.runs[position:], store, publish)
        clock = new_clock(config, profile=prepared.profile)
        statuses.append(run(config, prepared.dataset, memory, number, store, listener, should_stop, clock))
    return statuses


def new_clock(config: RunConfig, *, profile: bool) -> Clock:
    """The clock of a run with that resolved config."""
    return Stopwatch(waiter(torch.device(config.machine.device))) if profile else UNPROFILED


def _keeping_alive(waiting: Sequence[int], store: Writer, publish: Publish) -> Publish:
    """The listener, seeing to it that the runs which wait meanwhile are not taken for abandoned."""
    last = time.monotonic()

    def listener(run: int, events: Sequence[Event]) -> None:
        nonlocal last
        if waiting and time.monotonic() - last >= HEARTBEAT_SECONDS:
            store.heartbeat(waiting)
            last = time.monotonic()
        publish(run, events)

    return listener


def run(
    config: RunConfig,
    dataset: Dataset,
    memory: StageMemory,
    number: int,
    store: Writer,
    publish: Publish,
    should_stop: ShouldStop,
    clock: Clock = UNPROFILED,
) -> Status:
    """Drain one run; exactly one terminal event ends it. How it ended.

    It goes on from its checkpoint, if there is one. Whatever stops it, the checkpoint is written before that is
    stored. `should_stop` may block for as long as the run is to be held.
    """
    began = time.perf_counter()
    if should_stop():
        interrupted = RunInterrupted("stopped before it began", 0.0)
        store.end(number, interrupted)
        publish(number, [interrupted])
        return "interrupted"
    checkpoint = Checkpoint.of_run(store.path, number, config, dataset.fingerprint)
    with _Outbox(number, store, publish, checkpoint) as outbox:
        try:
            for event in train(config, dataset, memory, checkpoint, clock):
                with clock.part("events"):
                    outbox.put(event)
                with clock.part(PAUSED):
                    stopped = should_stop()
                if stopped and not isinstance(event, RunFinished):
                    outbox.end(RunInterrupted("stopped by the user", time.perf_counter() - began))
                    break
        except TrainingError as error:
            outbox.end(RunFailed(str(error), "", time.perf_counter() - began))
        except BaseException as error:
            if outbox.state.status not in ("queued", "running"):  # the run had ended; what broke is the listener
                raise
            message = f"{type(error).__name__}: {error}"
            if not isinstance(error, Exception):
                outbox.end(RunInterrupted(message, time.perf_counter() - began))
                raise
            outbox.end(RunFailed(message, traceback.format_exc(), time.perf_counter() - began))
        return outbox.state.status


class _Outbox:
    """Hands events on in batches, to the store and then to the listener; the checkpoint's warnings among them.

    Steps are stored by a thread of their own, so that training never waits for the disk: what comes meanwhile goes with
    the next batch. Whatever is rarer is stored before training goes on. The listener is called by who puts the events.
    """

    def __init__(self, run: int, store: Writer, publish: Publish, checkpoint: Checkpoint) -> None:
        self.run, self.store, self.publish, self.checkpoint = run, store, publish, checkpoint
        self.state = RunState()
        self._unseen: list[Event] = []
        self._waiting: list[Event] = []
        self._stored: list[list[Event]] = []
        self._sent = 0.0
        self._busy = False
        self._lock = threading.Lock()  # of the six above
        self._thread = ThreadPoolExecutor(1, "store")
        self._storing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()

    def put(self, event: Event) -> None:
        with self._lock:
            fresh = (*self.checkpoint.warnings(), event)
            self._waiting += fresh
            self._unseen += fresh
            if not isinstance(event, Step):
                self._see()
            begin = isinstance(event, Step) and not self._busy and self._is_due()
            self._busy = self._busy or begin
        if begin:
            self._storing = self._thread.submit(self._store_what_is_due)
        elif not isinstance(event, Step):
            if self._storing is not None:
                wait([self._storing])
            self._store()
        self._publish()

    def end(self, event: TerminalEvent) -> None:
        """Put the end of a run that did not finish, once its checkpoint is written."""
        self.checkpoint.flush()
        self.put(event)

    def _see(self) -> None:
        """Bring the state up to date, which for each step at once would take longer than to store it."""
        self.state = reduce_all(self.state, self._unseen)
        self._unseen = []

    def _is_due(self) -> bool:
        return bool(self._waiting) and time.monotonic() - self._sent >= BATCH_SECONDS

    def _store_what_is_due(self) -> None:
        """On the thread. What can't be stored fails again, and is raised, where training waits for the store."""
        try:
            while self._busy:
                self._store()
                with self._lock:
                    self._busy = self._is_due()
        except Exception:
            with self._lock:
                self._busy = False

    def _store(self) -> None:
        with self._lock:
            self._see()
            batch, self._waiting, state = self._waiting, [], self.state
            self._sent = time.monotonic()
        if not batch:
            return
        try:
            self.store.append(self.run, batch, state)
        except BaseException:
            with self._lock:
                self._waiting = batch + self._waiting  # it is stored with the next batch
            raise
        with self._lock:
            self._stored.append(batch)

    def _publish(self) -> None:
        with self._lock:
            batches, self._stored = self._stored, []
        for batch in batches:
            self.publish(self.run, batch)
