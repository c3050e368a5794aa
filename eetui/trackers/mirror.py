"""The events of a run, told to a tracker: the same for a stored log and for a run in training."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.config.stored import completed, known
from core.events import (
    Epoch,
    Event,
    Measured,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageStarted,
    Step,
    TokensMeasured,
    Warned,
)
from core.formulas import perplexity
from core.metrics import Metric, final_rows, run_metrics, training_rows
from core.state import RunState, reduce
from eetui.trackers.contract import Cell, Ending, TrackedRun, Tracker

ENDINGS: dict[type, Ending] = {RunFinished: "finished", RunFailed: "failed", RunInterrupted: "interrupted"}


class Mirror:
    """One run in a tracker, from its first event to its last."""

    def __init__(self, tracker: Tracker, row: Mapping[str, Any]) -> None:
        """Begin the run.

        Args:
            row: the run as `core.store.reader.Reader.run` returns it.
        """
        self._tracker = tracker
        self._config = completed(row["config"])
        self._state = RunState()
        self._steps: dict[str, int] = {}
        self._warnings: list[str] = []
        self.ended = False
        tracker.start(tracked(row))

    def take(self, events: Sequence[Event], time: float) -> None:
        """Tell events that were stored at a time, in seconds since 1970."""
        for event in events:
            if isinstance(event, TokensMeasured):
                continue
            if not isinstance(event, Step):
                self._state = reduce(self._state, event)
            self._tell(event, time)

    def flush(self) -> None:
        """Bring what was told so far to where a viewer finds it."""
        self._tracker.flush()

    def end(self, ending: Ending, time: float) -> None:
        """Write final figures and tables, and end the run, unless it has ended."""
        if self.ended:
            return
        self.ended = True
        found = run_metrics(self._state, self._config)
        self._tracker.summary({metric.key: value for metric, value in found.items()}, time)
        for name, rows in (("final", final_rows(found)), ("training", training_rows(found))):
            self._table(name, rows, found, time)
        if self._state.measured:
            columns = ("way", "split", "tokens counted", "tokens", "loss", "PPL", "accuracy", "layers saved")
            self._tracker.table("measurements", columns, [_measurement(one) for one in self._state.measured], time)
        if self._warnings:
            self._tracker.table("warnings", ("warning",), [[text] for text in self._warnings], time)
        self._tracker.end(ending, time)

    def _tell(self, event: Event, time: float) -> None:
        match event:
            case RunStarted():
                self._steps, self._warnings = {}, []
            case StageStarted():
                self._steps[event.stage] = event.steps or 1
            case Step(loss=float(loss)):
                self._tracker.metrics(
                    {f"{event.stage}/loss": loss}, self._place(event.stage, event.epoch, event.step), time
                )
            case Epoch():
                step = self._place(event.stage, event.epoch + 1, 0)
                self._tracker.metrics({f"{event.stage}/{name}": value for name, value in _figures(event)}, step, time)
            case Warned():
                self._warnings.append(event.message)
            case RunFailed() | RunInterrupted() | RunFinished():
                if isinstance(event, RunFailed):
                    self._warnings.append(event.message)
                self.end(ENDINGS[type(event)], time)

    def _place(self, stage: str, epoch: int, step: int) -> int:
        """Return the number of a step in its stage."""
        return (epoch - 1) * self._steps.get(stage, 1) + step

    def _table(self, name: str, rows: Sequence[Metric], found: Mapping[Metric, float], time: float) -> None:
        if rows:
            cells: list[list[Cell]] = [[metric.label, metric.key, found[metric], metric.unit] for metric in rows]
            self._tracker.table(name, ("figure", "key", "value", "unit"), cells, time)


def tracked(row: Mapping[str, Any]) -> TrackedRun:
    """Return a stored run as trackers know it."""
    params = {
        key: value if isinstance(value, str | int | float) else json.dumps(value) for key, value in known(row).items()
    }
    tags = {name: str(row[name]) for name in ("method", "seed", "preset", "experiment") if row[name] is not None}
    facts = {name: str(row["record"][name]) for name in ("corpus", "git_commit", "command") if row["record"].get(name)}
    key = f"{row['id']}-{row['created']:.6f}"
    return TrackedRun(
        key,
        row["name"],
        row["id"],
        row["created"],
        params,
        {**tags, "run": str(row["id"]), **facts},
        tuple(row["tags"]),
    )


def _figures(epoch: Epoch) -> list[tuple[str, float]]:
    """Return the figures of an epoch that it has."""
    val_ppl = None if epoch.val_loss is None else perplexity(epoch.val_loss)
    figures = (
        ("epoch_loss", epoch.loss), ("val_loss", epoch.val_loss), ("val_ppl", val_ppl), ("exit_loss", epoch.exit_loss),
        ("avg_label", epoch.avg_label), ("epoch_seconds", epoch.seconds),
    )  # fmt: skip
    return [(name, value) for name, value in figures if value is not None]


def _measurement(one: Measured) -> list[Cell]:
    ppl = perplexity(one.loss)
    return [one.name, one.split, one.token_set, one.tokens, one.loss, ppl, one.accuracy, one.layer_savings]
