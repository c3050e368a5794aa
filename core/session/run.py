"""Run experiments: pass the events of `protocol.train` to the store first and to the listener second.

The caller chooses the thread: the console uses a worker thread, the command line the main one.
"""

import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from functools import partial
from typing import Protocol

import torch

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import (
    ConfigError,
    LostRunError,
    StoppedError,
    StoreError,
    TrainingError,
    UnwritableError,
    VanishedError,
)
from core.events import Event, Publish, RunFailed, RunFinished, RunInterrupted, Warned
from core.machine.clock import PAUSED, UNPROFILED, Clock, Stopwatch
from core.machine.device import free_cached, peak_flops, waiter
from core.machine.free_memory import WHAT_TO_LOWER, is_out_of_memory
from core.machine.pace import NO_OUTLOOK, Outlook, Pace
from core.protocol.checkpoint import Checkpoint
from core.protocol.memory import StageMemory
from core.protocol.patience import Patience
from core.protocol.shared_checkpoint import SharedCheckpoint, Sharing
from core.protocol.train import train
from core.session.heartbeat import beating
from core.session.outbox import Outbox
from core.session.prepare import Prepared
from core.session.rescue import rescue
from core.session.together import Job, led
from core.state import LIVE, Status
from core.store.files import stages_folder
from core.store.lock import training_alone
from core.store.writer import Writer

OUT_OF_MEMORY = "the machine has too little memory for this run"
ShouldStop = Callable[[], bool]
Events = Generator[Event, None, None]


class Training(Protocol):
    """What trains a run: a function as `protocol.train` is, here or on another machine.

    It yields the run's events in order, writes what is trained to the checkpoint, and ends when it is closed, which
    happens at any event; what was trained until then should be in the checkpoint by that time. It may block for as long
    as its next event takes. What it raises ends the run: a `TrainingError` with its message, anything else as a bug.
    """

    def __call__(
        self,
        config: RunConfig,
        dataset: Dataset,
        memory: StageMemory | None = None,
        checkpoint: Checkpoint | None = None,
        clock: Clock = UNPROFILED,
        threads: int | None = None,
    ) -> Events: ...


def run_experiment(
    prepared: Prepared,
    store: Writer,
    publish: Publish,
    should_stop: ShouldStop = lambda: False,
    training: Training | None = None,
) -> list[Status]:
    """Run all runs in order, sharing the stages that do not depend on the method; return the status of each.

    If a run fails, the others still run. If the experiment is stopped, the queued runs are interrupted too.

    Args:
        training: what trains each; None: `protocol.train`, in this process.

    Raises:
        VanishedError: the database was removed or replaced meanwhile; all that it held is in the one that is named.
    """
    memory = StageMemory()
    statuses: list[Status] = []
    with beating(store, lambda: prepared.runs[len(statuses) :]):
        for config, number in zip(prepared.configs, prepared.runs, strict=True):
            clock, outlook = new_clock(config, profile=prepared.profile), prepared.outlook
            common = (prepared.dataset, memory, number, store, publish, should_stop, clock, outlook)
            statuses.append(run(config, *common, training))
    return statuses


def new_clock(config: RunConfig, *, profile: bool) -> Clock:
    """Return the clock of a run with that resolved config."""
    return Stopwatch(waiter(torch.device(config.machine.device))) if profile else UNPROFILED


def run(
    config: RunConfig,
    dataset: Dataset,
    memory: StageMemory,
    number: int,
    store: Writer,
    publish: Publish,
    should_stop: ShouldStop,
    clock: Clock = UNPROFILED,
    outlook: Outlook = NO_OUTLOOK,
    training: Training | None = None,
) -> Status:
    """Run one run to its single terminal event, from its checkpoint if there is one; return its final status.

    Whatever ends the run, the checkpoint is written before the terminal event is stored. `should_stop` may block for as
    long as the run is paused.

    Args:
        training: what trains it; None: `protocol.train`, in this process.

    Raises:
        VanishedError: the database was removed or replaced meanwhile; all that it held is in the one that is named.
    """
    began = time.perf_counter()
    if should_stop():
        interrupted = RunInterrupted("stopped before it began", 0.0)
        with suppress(UnwritableError):  # then its readers see that it has no process
            store.end(number, interrupted)
        publish(number, [interrupted])
        return "interrupted"

    def tell(warning: Warned) -> None:
        store.held_up = patience.reason
        publish(number, [warning])

    patience = Patience(should_stop, tell, clock)
    try:
        with training_alone(store.path, number):
            claimed = patience.attempt(partial(store.claim, number))
            checkpoint = Checkpoint.of_run(store.path, number, config, dataset.fingerprint, claimed.created)
            threads = claimed.threads or config.machine.threads
            if claimed.stages and threads == config.machine.threads:  # else its last bits are others
                checkpoint = SharedCheckpoint(checkpoint, Sharing(stages_folder(store.path), claimed.stages))
            checkpoint.sweep()
            checkpoint.patience = patience
            pace = Pace(threads, outlook, partial(peak_flops, config))
            with Outbox(number, store, publish, checkpoint, patience) as outbox:
                alone = partial(training or train, config, dataset, memory, checkpoint, clock, threads)
                events = partial(led, Job(config.model_dump_json(), dataset.fingerprint, threads), alone)
                watched = pace.watch if training is None else _unwatched
                return _drain(lambda: watched(events()), outbox, should_stop, clock)
    except UnwritableError as error:  # stopped before it could begin
        publish(number, [RunInterrupted(f"stopped by the user while {error}", time.perf_counter() - began)])
        return "interrupted"
    except StoreError as error:  # nothing can or may be stored of it any more
        publish(number, [RunFailed(str(error), "", time.perf_counter() - began)])
        return "failed"
    finally:
        store.held_up = None


def _unwatched(events: Iterable[Event]) -> Events:
    """Yield the events of a training elsewhere, whose pace this machine's counters tell nothing of."""
    yield from events


def _drain(training: Callable[[], Events], outbox: Outbox, should_stop: ShouldStop, clock: Clock) -> Status:
    """Put all events of a training into the outbox, and an end if they have none; return the final status."""
    began = time.perf_counter()
    try:
        _drain_in_place(training, outbox, should_stop, clock)
    except VanishedError:
        raise rescue(outbox, time.perf_counter() - began) from None
    return outbox.state.status


def _drain_in_place(training: Callable[[], Events], outbox: Outbox, should_stop: ShouldStop, clock: Clock) -> None:
    """Do so as long as the database stays where it is."""
    began, starved = time.perf_counter(), False
    try:
        with closing(training()) as events:  # closed at once, whatever happens: other processes may wait to hear of it
            for event in events:
                with clock.part("events"):
                    outbox.put(event)
                with clock.part(PAUSED):
                    stopped = should_stop()
                if stopped and not isinstance(event, RunFinished):
                    outbox.end(RunInterrupted("stopped by the user", time.perf_counter() - began))
                    break
    except StoppedError as error:
        outbox.end(RunInterrupted(str(error), time.perf_counter() - began))
    except (LostRunError, VanishedError):
        raise
    except UnwritableError as error:
        outbox.abandon(RunInterrupted(f"stopped by the user while {error}", time.perf_counter() - began))
    except StoreError as error:
        outbox.abandon(RunFailed(str(error), "", time.perf_counter() - began))
    except (TrainingError, ConfigError) as error:  # such as a pretrained model whose weights can't be read
        outbox.end(RunFailed(str(error), "", time.perf_counter() - began))
    except BaseException as error:
        if outbox.state.status not in LIVE:  # the run had ended: the listener raised
            raise
        message = f"{type(error).__name__}: {error}"
        if not isinstance(error, Exception):
            outbox.end(RunInterrupted(message, time.perf_counter() - began))
            raise
        starved = is_out_of_memory(error)
        if not starved:
            outbox.end(RunFailed(message, traceback.format_exc(), time.perf_counter() - began))
    if starved:  # out here the error is gone that held on to the memory
        lower = f"{OUT_OF_MEMORY}: lower {WHAT_TO_LOWER}"
        _end_for_want_of_memory(outbox, RunFailed(lower, "", time.perf_counter() - began))


def _end_for_want_of_memory(outbox: Outbox, event: RunFailed) -> None:
    """End a run that ran out of memory, without its last checkpoint if that can't be had either."""
    free_cached()
    try:
        outbox.end(event)
    except MemoryError:
        outbox.put(event)
