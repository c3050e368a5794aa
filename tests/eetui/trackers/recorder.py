"""A tracker for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from eetui.trackers.contract import TrackedRun


class Recorder:
    """A tracker that writes down what it is told, and fails at a figure of choice."""

    def __init__(self, fails_at: str = "") -> None:
        self.said: list[tuple[Any, ...]] = []
        self.fails_at = fails_at

    def start(self, run: TrackedRun) -> None:
        self.said.append(("start", run.name))

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        for name in values:
            if self.fails_at and name.startswith(self.fails_at):
                raise OSError("the disk is full")
        self.said += (("metric", name, step) for name in values)

    def summary(self, values: Mapping[str, float], time: float) -> None:
        self.said.append(("summary", *values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], time: float) -> None:
        self.said.append(("table", name, len(rows)))

    def flush(self) -> None:
        self.said.append(("flush",))

    def end(self, ending: str, time: float) -> None:
        self.said.append(("end", ending))
