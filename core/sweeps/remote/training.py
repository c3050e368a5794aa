"""Training runs elsewhere, seen from the process that has the database: a `core.session.run.Training`.

All that a run says is passed on in order; stages and progress go to its checkpoint here, which hands out the turns at
shared stages too. A place that is lost costs what was trained there since the last epoch: the run starts again in
another, from the checkpoint.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import StoppedError, TrainingError
from core.events import Event, RunStarted, Warned
from core.machine.clock import UNPROFILED, Clock
from core.protocol.checkpoint import Checkpoint
from core.protocol.memory import StageMemory
from core.protocol.stage_key import surroundings
from core.store.queue import MOST_DEATHS
from core.sweeps.remote.messages import Answer, Happened, Left, Message, Over, Reached, Task, Trained, Wanted


class LostPlaceError(Exception):
    """The process or the node that trained a run is gone; the message says which."""


class Place(Protocol):
    """A process elsewhere that trains one run at a time. Every method raises `LostPlaceError` where it is gone."""

    @property
    def name(self) -> str:
        """Return what messages call it."""

    def begin(self, task: Task, dataset: Dataset) -> tuple[str, ...]:
        """Begin to train a run; return what its last bits depend on there (`stage_key.surroundings`)."""

    def fetch(self) -> list[Message]:
        """Return what the run has said since the last call; nothing after a while in which it said nothing."""

    def answer(self, answer: Answer, key: str | None) -> None:
        """Give the run the turn that it waits for.

        Args:
            key: of the finished stage by its content, where others may be sent the same.
        """

    def stop(self) -> list[Message]:
        """End the run at its step; return what it said last."""


class Places(Protocol):
    """All places that there are."""

    def take(self, config: RunConfig, threads: int, should_stop: Callable[[], bool]) -> AbstractContextManager[Place]:
        """Take a free place with the resources that a run needs, once there is one, for as long as the block runs.

        Raises:
            StoppedError: the run is to stop before.
            TrainingError: there is none with so many resources.
            LostPlaceError: it was lost before it was there.
        """


@dataclass(frozen=True)
class RemoteTraining:
    """Trains each run in one of several places.

    Attributes:
        again: whether a run whose place is lost starts again in another; else it is interrupted.
    """

    places: Places
    again: bool = True

    def __call__(
        self,
        config: RunConfig,
        dataset: Dataset,
        memory: StageMemory | None = None,
        checkpoint: Checkpoint | None = None,
        clock: Clock = UNPROFILED,
        threads: int | None = None,
    ) -> Generator[Event, None, None]:
        """Yield the events of a run; where its place is lost, it starts again in the next.

        Raises:
            TrainingError: no place has the resources that it needs, or several were lost with it.
            StoppedError: its place was lost, and it is not to start again.
        """
        assert checkpoint is not None
        task = Task(config.model_dump_json(), threads or config.machine.threads, clock is not UNPROFILED)
        lost: LostPlaceError | None = None
        for _ in range(MOST_DEATHS):
            try:
                with self.places.take(config, task.threads, checkpoint.patience.should_stop) as place:
                    files, notes = checkpoint, [_moved(lost, place)] if lost else []
                    there, here = place.begin(task, dataset), surroundings(config.machine.device)
                    if there != here:
                        files = checkpoint.alone()
                        notes.append(_other_kind(place, there, here))
                    yield from _followed(place, files, notes)
                return
            except LostPlaceError as error:
                if not self.again:
                    raise StoppedError(f"{error}: eetui resume goes on from the last checkpoint") from error
                lost = error
        raise TrainingError(f"{MOST_DEATHS} places were lost with it, the last one so: {lost}")


def _followed(place: Place, checkpoint: Checkpoint, notes: list[Warned]) -> Generator[Event, None, None]:
    """Yield the events of a run in training, with notes after its start, and keep what it trains."""
    ended = False
    with ExitStack() as turn:
        try:
            while not ended:
                messages = place.fetch()
                if not messages and checkpoint.patience.should_stop():
                    raise StoppedError("stopped by the user")
                for message in messages:
                    match message:
                        case Happened(event):
                            yield event
                            if isinstance(event, RunStarted):
                                yield from notes
                        case Wanted(stage):
                            turn.enter_context(checkpoint.turn(stage))
                            place.answer(_answer(checkpoint, stage), checkpoint.key(stage))
                        case Left():
                            turn.close()
                        case Over(error):
                            ended = True
                            if error is not None:
                                raise error
                        case _:
                            _keep(checkpoint, message)
        finally:
            if not ended:
                with suppress(LostPlaceError):
                    for message in place.stop():
                        _keep(checkpoint, message)
                checkpoint.flush()  # before another has its turn


def _answer(checkpoint: Checkpoint, stage: str) -> Answer:
    """Return a stage's turn, and keep the stage as the run's own where another run has trained it."""
    kept = checkpoint.recall(stage)
    if kept is None:
        return Answer(progress=checkpoint.progress(stage))
    checkpoint.keep(stage, *kept)
    return Answer(kept)


def _keep(checkpoint: Checkpoint, message: Message) -> None:
    """Keep what a message brings of a stage, if anything."""
    if isinstance(message, Trained):
        checkpoint.keep(message.stage, message.events, message.weights)
    elif isinstance(message, Reached):
        checkpoint.keep_progress(message.stage, message.progress)


def _moved(lost: LostPlaceError, place: Place) -> Warned:
    return Warned(f"{lost}: the run goes on at {place.name}, from its last epoch")


def _other_kind(place: Place, there: tuple[str, ...], here: tuple[str, ...]) -> Warned:
    return Warned(
        f"{place.name} computes with {there[-1]}, and this machine with {here[-1]}: last bits may differ, so the run "
        f"shares no stages with others"
    )
