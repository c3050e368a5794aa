"""A tracker for tests of commands, installed in place of TensorBoard's: a file a run, anew each time that it begins."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eetui.trackers.contract import TrackedRun


class Notebook:
    """Notes beginning, steps of validation losses and end of a run in `NUMBER.txt`, with the process that wrote it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, run: TrackedRun) -> None:
        self._path = self._folder / f"{run.number}.txt"
        self._path.write_text(f"start {run.name} {os.getpid()}\n")

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        for name in values:
            if name.endswith("/val_loss"):
                self._note(f"{name} {step}")

    def summary(self, values: Mapping[str, float], time: float) -> None: ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], time: float) -> None: ...

    def flush(self) -> None: ...

    def end(self, ending: str, time: float) -> None:
        self._note(f"end {ending}")

    def _note(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{line}\n")


new = Notebook
