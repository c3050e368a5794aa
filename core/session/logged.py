"""Runs of somebody else's training loop: it tells each step, and they are drawn as any run is.

A loop never waits for the disk, and nothing here ends it: what can't be stored now is stored later, and said once.
"""

import math
import platform
import socket
import sqlite3
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import StoreError, UsageError
from core.events import (
    Epoch,
    Event,
    Measured,
    PlannedStage,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    TerminalEvent,
    Warned,
)
from core.exits._facts import RECORD_KEY
from core.extensions.imported import IMPORTED, IMPORTED_SIGNAL
from core.machine.processes import command_line, peak_memory
from core.session.heartbeat import beating
from core.session.names import require_list, require_name, require_tag
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun, owner_of
from core.store.rows import update_run
from core.store.writer import Writer
from core.valid_json import json_of

STORE_SECONDS = 0.5
"""Interval at which what was logged is stored."""
MOST_SEED = 2**63 - 1
"""The largest whole number that the database holds."""
STAGE, METHOD = "training", "own"
EVALUATION = "evaluation"


class LoggedRun:
    """A run that a training loop tells of itself; `with` ends it.

    Attributes:
        number, name: of the run in the database.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        epochs: int = 0,
        steps: int = 0,
        tags: Sequence[str] = (),
        db: Path = Path("runs.db"),
    ) -> None:
        """Begin a run.

        Args:
            name: a number is added to one that is taken.
            config: what the training depends on, as plain values; shown with the run and compared. `seed` is the run's,
                and runs of the same `corpus` are on the same text.
            epochs: upper bound on the epochs, for the progress; 0: not known.
            steps: upper bound on the steps of one; 0: not known.

        Raises:
            ConfigError: the name or a tag is not valid.
            UsageError: the config is no plain values, or a bound is negative (`StoreError`: the database can't be
                written).
        """
        require_name("name", name)
        require_list("tags", tags)
        for tag in tags:
            require_tag("tag", tag)
        for what, number in (("epochs", epochs), ("steps", steps)):
            if number < 0:
                raise UsageError(f"{what} must be 0 or above, got {number}: it is the most that there will be")
        record = _record(config or {})
        self._began = self._last = self._epoch_began = time.perf_counter()
        self._store = Writer(db)
        self._lock = threading.Lock()  # guards the four below
        self._waiting: list[Event] = []
        self._state, self._ended, self._said = RunState(), False, False
        self._losses: list[float] = []
        self._best = math.inf
        self._warned = False
        try:
            seed = _seed(config or {})
            new = NewRun(None, METHOD, seed, None, json_of({**_CONFIG, "seed": seed}), record, tuple(tags))
            found = list[str]()
            (self.number,) = self._store.create_experiment(
                [new], lambda connection, numbers: found.append(_named(connection, numbers[0], name))
            )
            (self.name,) = found
        except BaseException:
            self._store.close()
            raise
        stage = PlannedStage(STAGE, "lm", None, trains=True)
        self._put(RunStarted((stage,), 0, 0, 0, (1,), 0), StageStarted(STAGE, "lm", None, epochs, steps, 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="eetui log", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended

    def log(
        self,
        *,
        step: int | None = None,
        loss: float | None = None,
        tokens: int = 0,
        epoch: int = 1,
        val_loss: float | None = None,
        eval_loss: float | None = None,
        accuracy: float | None = None,
    ) -> None:
        """Tell of a step, of the end of an epoch (`val_loss`), or of an evaluation (`eval_loss`).

        Args:
            step: its number in the epoch, from 1.
            epoch: its number, from 1.
            loss: mean training loss in nats; without it an epoch has the mean of its steps.
            tokens: number of tokens of the step, for the rate.
            val_loss: mean loss on text that the training does not see.
            eval_loss: mean loss of the trained model on evaluation text; the last one's PPL is the run's in lists.
            accuracy: share of its predictions there that are right.

        Raises:
            UsageError: nothing is told, a number is none of its kind, or the run has ended.
        """
        if step is None and val_loss is None and eval_loss is None:
            raise UsageError("log what? a step with its loss, val_loss at the end of an epoch, or eval_loss")
        for what, number in (("step", step), ("epoch", epoch)):
            if number is not None and number < 1:
                raise UsageError(f"{what} must be 1 or above, got {number}: steps and epochs count from 1")
        if accuracy is not None and (eval_loss is None or not 0 <= accuracy <= 1):
            what = "goes with eval_loss" if eval_loss is None else f"must be a share from 0 to 1, got {accuracy}"
            raise UsageError(f"accuracy {what}")
        if self._ended:
            raise UsageError(f"{self.name} has ended: begin another with eetui.logging_run")
        now = time.perf_counter()
        if step is not None:
            known = self._finite(loss, f"step {step}")
            self._losses += [] if known is None else [known]
            self._put(Step(STAGE, int(epoch), int(step), known, int(tokens), now - self._last))
        if val_loss is not None:
            self._end_epoch(int(epoch), loss if step is None else None, float(val_loss), now)
        if eval_loss is not None and (found := self._finite(eval_loss, "the evaluation")) is not None:
            right = None if accuracy is None else float(accuracy)
            self._put(Measured(EVALUATION, "early exit", None, "eval", "all", 0, found, right, (1.0,), 0.0))
        self._last = time.perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """End the run: finished, failed with this error, or interrupted by Ctrl-C. Does nothing the second time."""
        if self._ended:
            return
        self._ended = True
        seconds = time.perf_counter() - self._began
        self._put(*([] if error else [StageEnded(STAGE, seconds)]), _terminal(error, seconds))
        self._over.set()
        self._thread.join()
        self._store_waiting(last=True)
        self._store.close()

    def _end_epoch(self, epoch: int, loss: float | None, val_loss: float, now: float) -> None:
        mean = sum(self._losses) / len(self._losses) if self._losses else None
        train, held = (self._finite(value, f"epoch {epoch}") for value in (mean if loss is None else loss, val_loss))
        improved = held is not None and held < self._best
        self._best = min(self._best, math.inf if held is None else held)
        self._put(Epoch(STAGE, epoch, train, held, None, None, improved, None, now - self._epoch_began))
        self._losses, self._epoch_began = [], now

    def _finite(self, value: float | None, where: str) -> float | None:
        """Return a loss as a float; None if it is not finite, of which a run has a warning once."""
        if value is None or math.isfinite(value):
            return None if value is None else float(value)
        if not self._warned:
            self._warned = True
            self._put(Warned(f"the loss is {float(value)} at {where}"))
        return None

    def _put(self, *events: Event) -> None:
        with self._lock:
            self._waiting += events

    def _work(self) -> None:
        with beating(self._store, lambda: [self.number]):
            while not self._over.wait(STORE_SECONDS):
                self._store_waiting()

    def _store_waiting(self, *, last: bool = False) -> None:
        """Store what waits. What can't be stored waits on, and is said once, or at the end that it is lost."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        if not batch:
            return
        state = reduce_all(self._state, batch)
        try:
            self._store.append(self.number, batch, state)
            self._state = state
        except StoreError as error:
            with self._lock:
                self._waiting = batch + self._waiting
            if last or not self._said:
                self._said = True
                warnings.warn(f"eetui can't store what is logged{'' if last else ' yet'}: {error}", stacklevel=2)


_CONFIG: dict[str, Any] = {
    "method": IMPORTED_SIGNAL + METHOD, "protocol": "frozen", "seed": 0, "data": {"corpus": METHOD},
    "model": {"source": IMPORTED, "block_layers": [1]},
    "exit": {"exited_state": "copy", "last_exit": False, "exit_classifier_mode": "post", "calibration": "spread"},
}  # fmt: skip


def _terminal(error: BaseException | None, seconds: float) -> TerminalEvent:
    if error is None:
        return RunFinished(seconds, peak_memory())
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return RunInterrupted(f"the loop was ended by {type(error).__name__}", seconds)
    trace = "".join(traceback.format_exception(error))
    return RunFailed(f"{type(error).__name__}: {error}", trace, seconds)


def _seed(config: Mapping[str, Any]) -> int:
    """Return the seed that a config tells, if it is one that the database holds; else 0."""
    seed = config.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MOST_SEED else 0


def _named(connection: sqlite3.Connection, run: int, name: str) -> str:
    """Give a run the name, or where it is taken with the first number that makes it another; return it."""
    number, free = 1, name
    while owner_of(connection, free) is not None:
        number += 1
        free = f"{name}-{number}"
    update_run(connection, run, {"name": free})
    return free


def _record(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is known of the loop, as plain values for JSON.

    Raises:
        UsageError: the config is no plain values.
    """
    for key, value in config.items():
        try:
            json_of({key: value})
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise UsageError(f"config must be plain values, numbers and texts, and {key} is of type {kind}") from None
    return {
        "corpus": str(config.get("corpus", METHOD)),
        "fingerprint": f"{METHOD} {config.get('corpus', time.time_ns())}",  # else no two are known to be on one text
        "tokenizer": METHOD,
        "vocab_size": 0,
        "logged": dict(config),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        RECORD_KEY: {"name": METHOD, "reads_head": False, "claims": "rank", "learns": False},
        "command": command_line(),
    }
