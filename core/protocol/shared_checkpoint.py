"""A run's checkpoint that shares trained stages with other runs, wherever they are trained, through a folder.

The folder has a folder for each stage, named by its key (`core.protocol.stage_key`), with the same files as a run's own
checkpoint: the finished stage, or where its training stands. One run trains a stage; others wait for it meanwhile, and
one of them goes on from its last epoch if its process dies.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UnwritableError
from core.events import Event, Warned
from core.machine.clock import PAUSED
from core.protocol.checkpoint import Checkpoint
from core.protocol.weights_file import Kept
from core.stages.lm import Progress
from core.stages.trainer import Weights
from core.store.lock import holding

LOOK_SECONDS = 0.05
"""Interval at which a run looks whether the stage that it waits for is there."""
EVERYBODY = "shared"
"""Run of the files in the folder, which are of any."""


@dataclass(frozen=True)
class Sharing:
    """The folder that stages are shared through, and the key of each stage of a run that is shared, by its name."""

    folder: Path
    keys: Mapping[str, str]


class SharedCheckpoint(Checkpoint):
    """The files of one run, and those of the stages that it shares."""

    def __init__(self, own: Checkpoint, sharing: Sharing) -> None:
        super().__init__(own.folder, own.origin, own.run)
        self._shelves = {stage: _Shelf(sharing.folder / key, key, EVERYBODY) for stage, key in sharing.keys.items()}

    def key(self, stage: str) -> str | None:
        """Return the key of a stage that is shared; None for one that is the run's alone."""
        shelf = self._shelves.get(stage)
        return shelf.origin if shelf else None

    @contextlib.contextmanager
    def turn(self, stage: str) -> Iterator[None]:
        """Wait until nobody else trains the stage, and keep others from it meanwhile; at once if it is there.

        Raises:
            UnwritableError: the run is to stop before.
        """
        shelf = self._shelf(stage)
        if shelf is None or shelf.has(stage) or self.has(stage):
            yield
            return
        with holding(shelf.folder.with_name(f"{shelf.folder.name}.lock"), self._waiting(stage)):
            if not shelf.has(stage):
                shelf.sweep()
            yield

    def recall(self, stage: str) -> Kept | None:
        """Return the events and the weights of a finished stage, the run's own or a shared one."""
        shelf = self._shelf(stage)
        return super().recall(stage) or (shelf.recall(stage) if shelf else None)

    def keep(self, stage: str, events: Sequence[Event], weights: Weights) -> None:
        """Write a finished stage for everybody, then the run's own."""
        shelf = self._shelf(stage)
        if shelf is not None and not (shelf.has(stage) and stage not in shelf.unusable):
            shelf.keep(stage, events, weights)
        super().keep(stage, events, weights)

    def progress(self, stage: str) -> Progress | None:
        """Return the training progress of a block, whoever wrote it last."""
        shelf = self._shelf(stage)
        found = [super().progress(stage), shelf.progress(stage) if shelf else None]
        return max((one for one in found if one), key=lambda one: len(one.epochs), default=None)

    def keep_progress(self, stage: str, progress: Progress) -> None:
        """Hold the newest progress of a stage where all who share it find it, and write it now and then."""
        shelf = self._shelf(stage)
        if shelf is None:
            super().keep_progress(stage, progress)
        else:
            shelf.keep_progress(stage, progress)

    def flush(self) -> None:
        """Write the progress that is held."""
        super().flush()
        for shelf in self._shelves.values():
            shelf.flush()

    def warnings(self) -> list[Warned]:
        """Return the warnings since the last call, of all files."""
        return [*super().warnings(), *(warning for shelf in self._shelves.values() for warning in shelf.warnings())]

    def _shelf(self, stage: str) -> Checkpoint | None:
        """Return the files of a shared stage; None if it is the run's alone."""
        shelf = self._shelves.get(stage)
        if shelf is not None:
            shelf.patience = self.patience
        return shelf

    def _waiting(self, stage: str) -> "_Wait":
        return _Wait(self, stage)


class _Shelf(Checkpoint):
    """The files of a stage that runs share."""

    loss = "each run trains its stages itself"


class _Wait:
    """Waits for who trains a stage, as long as the run is not to stop."""

    def __init__(self, checkpoint: SharedCheckpoint, stage: str) -> None:
        self.checkpoint, self.stage, self.said = checkpoint, stage, False

    def __call__(self, holder: str) -> None:
        patience = self.checkpoint.patience
        if patience.should_stop():
            raise UnwritableError(f"waiting for {self.stage}, which {holder} trains")
        if not self.said:
            self.said = True
            patience.tell(Warned(f"waits for {self.stage}, which {holder} trains for this run too"))
        with patience.clock.part(PAUSED):
            time.sleep(LOOK_SECONDS)
