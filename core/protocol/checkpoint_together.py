"""The checkpoint of a run that several processes train: the first one's, which the others are told of."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.events import Event
from core.parallel.world import world
from core.protocol.checkpoint import Checkpoint
from core.protocol.weights_file import Kept
from core.stages.lm import Progress
from core.stages.trainer import Weights


class CheckpointTogether(Checkpoint):
    """Reads with all processes, so that each must ask alike, and writes with the first.

    Args:
        own: the checkpoint, in the first process; None in the others, and where nothing is written.
    """

    def __init__(self, own: Checkpoint | None) -> None:
        super().__init__(own.folder if own else Path(os.devnull), own.origin if own else "", own.run if own else "")
        self.own = own

    @contextlib.contextmanager
    def turn(self, stage: str) -> Iterator[None]:
        """Let the first process be alone with a stage; the others meet it there."""
        with self.own.turn(stage) if self.own else contextlib.nullcontext():
            yield

    def recall(self, stage: str) -> Kept | None:
        """Return the events and the weights of a finished stage, on the CPU; None if they are not there."""
        return world().share(self.own.recall(stage) if self.own else None)

    def keep(self, stage: str, events: Sequence[Event], weights: Weights) -> None:
        """Write a finished stage."""
        if self.own:
            self.own.keep(stage, events, weights)

    def progress(self, stage: str) -> Progress | None:
        """Return the training progress of a block as it was last written; None if it was not."""
        return world().share(self.own.progress(stage) if self.own else None)

    def keep_progress(self, stage: str, progress: Progress) -> None:
        """Hold the newest progress of a stage."""
        if self.own:
            self.own.keep_progress(stage, progress)
