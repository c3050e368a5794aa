"""Runs of somebody else's training loop: it tells each step, and they are drawn as any run is.

A loop never waits for the disk, and nothing here ends it: what can't be stored now is stored later, and said once.
"""

import math
import platform
import socket
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
from core.session.names import require_name, require_tag
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun
from core.store.writer import Writer
from core.valid_json import json_of

STORE_SECONDS = 0.5
"""Interval at which what was logged is stored."""
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
        epochs: int = 1,
        steps: int = 1,
        tags: Sequence[str] = (),
        db: Path = Path("runs.db"),
    ) -> None:
        """Begin a run.

        Args:
            name: a number is added to one that is taken.
            config: what the training depends on, as plain values; shown with the run and compared. `seed` is the run's,
                and runs of the same `corpus` are on the same text.
            epochs: upper bound on the epochs, for the progress.
            steps: upper bound on the steps of one.

        Raises:
            ConfigError: the name or a tag is not valid.
            UsageError: the config is no plain values (`StoreError`: the database can't be written).
        """
        require_name("name", name)
        for tag in tags:
            require_tag("tag", tag)
        self._began = time.perf_counter()
        self._store = Writer(db)
        self._lock = threading.Lock()  # guards the four below
        self._waiting: list[Event] = []
        self._state, self._ended, self._said = RunState(), False, False
        self._last_step = self._began
        self._losses: list[float] = []
        self._best = math.inf
        self._warned = False
        try:
            self.name = _free_name(self._store, name)
            seed = (config or {}).get("seed")
            seed = seed if isinstance(seed, int) and seed >= 0 else 0
            new = NewRun(self.name, METHOD, seed, None, json_of(_CONFIG), _record(config or {}), tuple(tags))
            (self.number,) = self._store.create_experiment([new])
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
            loss: mean training loss in nats; without it an epoch has the mean of its steps.
            tokens: number of tokens of the step, for the rate.
            val_loss: mean loss on text that the training does not see.
            eval_loss: mean loss of the trained model on evaluation text; its PPL is the run's in lists.
            accuracy: share of its predictions there that are right.

        Raises:
            UsageError: nothing is told, or the run has ended.
        """
        if step is None and val_loss is None and eval_loss is None:
            raise UsageError("log what? a step with its loss, val_loss at the end of an epoch, or eval_loss")
        if self._ended:
            raise UsageError(f"{self.name} has ended: begin another with eetui.logging_run")
        now = time.perf_counter()
        if step is not None:
            known = self._finite(loss, f"step {step}")
            self._losses += [] if known is None else [known]
            self._put(Step(STAGE, int(epoch), int(step), known, int(tokens), now - self._last_step))
            self._last_step = now
        if val_loss is not None:
            self._end_epoch(int(epoch), loss if step is None else None, float(val_loss), now)
        if eval_loss is not None and (found := self._finite(eval_loss, "the evaluation")) is not None:
            right = 0.0 if accuracy is None else float(accuracy)
            self._put(Measured(EVALUATION, "early exit", None, "eval", "all", 0, found, right, (1.0,), 0.0))

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
        mean = sum(self._losses) / len(self._losses) if self._losses else math.nan
        found = [self._finite(value, f"epoch {epoch}") for value in (mean if loss is None else loss, val_loss)]
        train, held = (0.0 if value is None else value for value in found)
        improved = found[1] is not None and held < self._best
        self._best = held if improved else self._best
        self._put(Epoch(STAGE, epoch, train, held, None, None, improved, None, now - self._began))
        self._losses = []

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


def _free_name(store: Writer, name: str) -> str:
    """Return the name, or with the first number that makes it another."""
    with store.transaction() as connection:
        taken = {row[0] for row in connection.execute("SELECT name FROM runs")}
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _record(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is known of the loop, as plain values for JSON.

    Raises:
        UsageError: the config is no plain values.
    """
    try:
        json_of(dict(config))
    except (TypeError, ValueError) as error:
        raise UsageError(f"config must be plain values, numbers and texts: {error}") from None
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
