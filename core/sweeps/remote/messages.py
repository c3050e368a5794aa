"""What a run says while it is trained in another process, and what it is told. All of it can be pickled."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.events import Event
from core.protocol.weights_file import Kept
from core.stages.lm import Progress
from core.stages.trainer import Weights


@dataclass(frozen=True)
class Task:
    """A run that is to be trained.

    Attributes:
        config: resolved, as JSON.
        threads: number of threads that it computes with.
        profile: whether the parts of its stages are timed.
    """

    config: str
    threads: int
    profile: bool = False


@dataclass(frozen=True)
class Happened:
    """An event of the run."""

    event: Event


@dataclass(frozen=True)
class Wanted:
    """The run is about to train a stage: it waits for its turn, which an `Answer` gives it."""

    stage: str


@dataclass(frozen=True)
class Left:
    """The run has done with the stage whose turn it has."""

    stage: str


@dataclass(frozen=True)
class Trained:
    """A finished stage, with its events and weights, on the CPU."""

    stage: str
    events: Sequence[Event]
    weights: Weights


@dataclass(frozen=True)
class Reached:
    """Where the training of a stage stands after an epoch."""

    stage: str
    progress: Progress


@dataclass(frozen=True)
class Over:
    """The run has come to its end, by an error where there is one."""

    error: Exception | None = None


Message = Happened | Wanted | Left | Trained | Reached | Over


@dataclass(frozen=True)
class Answer:
    """A stage's turn: the finished stage, or where its training stands, if there is either."""

    kept: Kept | None = None
    progress: Progress | None = None
