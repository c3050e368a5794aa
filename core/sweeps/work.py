"""Workers: they take runs from the queue of the database, or of a sweep, and train them until nothing is left.

Any number may work at once, in threads, processes or on other machines that reach the database; the stages that runs
share go through a folder beside it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.derived import dataset_settings
from core.config.run_config import RunConfig, rebuilt
from core.data.windows import Dataset
from core.errors import EetuiError, StoreError
from core.events import Publish, RunFailed
from core.machine.pace import Outlook
from core.protocol.memory import StageMemory
from core.protocol.resolve import resolve_all
from core.protocol.weights_file import PARTIAL
from core.session.heartbeat import beating
from core.session.prepare import require_text, shared_dataset
from core.session.run import ShouldStop, Training, new_clock, run
from core.state import RunState, Status, reduce
from core.store.files import stages_folder
from core.store.queue import leave, take
from core.store.reader import Reader
from core.store.writer import Writer

Begin = Callable[[int, str], None]


@dataclass
class Worker:
    """Trains what is in a queue.

    Attributes:
        sweep: the sweep whose runs are taken; None: those of no sweep.
        publish: called with the events of each run.
        begin: called with number and name of each run before it.
        should_stop: whether to end after the step in progress; the run goes back into the queue.
        training: what trains a run; None: this process.
        more: called when nothing is left to take; whether to look again.
        after: called with number and final status of each run.
        given_up: runs to be stopped after their step.
    """

    store: Writer
    sweep: int | None
    publish: Publish
    begin: Begin = lambda number, name: None
    should_stop: ShouldStop = lambda: False
    training: Training | None = None
    more: Callable[[], bool] = lambda: False
    after: Callable[[int, Status], None] = lambda number, status: None
    given_up: set[int] = field(default_factory=set)
    statuses: dict[int, Status] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    _texts: "_Texts" = field(default_factory=lambda: _Texts())

    def work(self, slots: int = 1, *, once: bool = False) -> dict[int, Status]:
        """Train until nothing is left, or the worker is to stop; return the status of each run.

        Args:
            slots: how many runs are trained at once, each in a thread of its own; for a `training` elsewhere.
            once: whether to train one run only.
        """
        with beating(self.store, lambda: list(self._held)):
            if slots == 1:
                self._loop(once=once)
            else:
                self.publish = locked(self.publish)
                with ThreadPoolExecutor(slots, "slot") as pool:
                    for future in [pool.submit(self._loop) for _ in range(slots)]:
                        future.result()
        return self.statuses

    def train(self, number: int) -> Status:
        """Train one run, which this process has taken."""
        with beating(self.store, lambda: [number]):
            return self._train(number, StageMemory())

    def _loop(self, *, once: bool = False) -> None:
        memory, like, folder = StageMemory(), "", stages_folder(self.store.path)
        while not self.should_stop():
            taken = take(self.store, self.sweep, lambda key: _is_there(folder / key), like)
            if taken is not None:
                number, like = taken
                self._held.add(number)
                try:
                    self.statuses[number] = status = self._train(number, memory)
                    self.after(number, status)
                finally:
                    self._held.discard(number)
            elif not self.more():
                return
            if once:
                return

    def _train(self, number: int, memory: StageMemory) -> Status:
        """Train a run; what keeps it from beginning is its failure, and nobody else's."""
        with Reader(self.store.path) as reader:
            row = reader.run(number)
        self.begin(number, str(row["name"]))
        try:
            config, remark = _config_of(row)
            dataset = self._texts.dataset(config)
            require_text(row, config, dataset)
        except StoreError:
            raise
        except EetuiError as error:
            return self._fail(number, str(error))
        status = run(
            config, dataset, memory, number, self.store, self.publish,
            lambda: self.should_stop() or number in self.given_up,
            new_clock(config, profile=bool(row["record"].get("profile"))), Outlook(remark),
            self.training,
        )  # fmt: skip
        if status in ("finished", "failed"):
            leave(self.store, number)
        return status

    def _fail(self, number: int, message: str) -> Status:
        failed = RunFailed(message, "", 0.0)
        self.store.append(number, [failed], reduce(RunState(), failed))
        self.publish(number, [failed])
        leave(self.store, number)
        return "failed"


class _Texts:
    """The dataset of the run before, for the next one, in whatever thread."""

    def __init__(self) -> None:
        self._key: object = None
        self._dataset: Dataset | None = None
        self._turn = threading.Lock()

    def dataset(self, config: RunConfig) -> Dataset:
        """Load a config's dataset, unless it is that of the run before."""
        key = dataset_settings(config)
        with self._turn:
            if self._dataset is None or key != self._key:
                self._key, self._dataset = key, shared_dataset([config])
            return self._dataset


def locked(publish: Publish) -> Publish:
    """Return a listener that is called by one thread at a time."""
    turn = threading.Lock()

    def one_at_a_time(*arguments: Any) -> None:
        with turn:
            publish(*arguments)

    return one_at_a_time


def _is_there(stage: Path) -> bool:
    """Whether a stage's folder holds its result, and not only where its training stands."""
    return any(not path.stem.endswith(PARTIAL) for path in stage.glob("*.safetensors"))


def _config_of(row: dict[str, Any]) -> tuple[RunConfig, str]:
    configs, remark = resolve_all([rebuilt(row["config"], f"run {row['id']}")])
    return configs[0], remark
