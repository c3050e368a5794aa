"""Training a run for another process, which fetches what the run says: on the machine that computes.

The run is trained in a thread; its messages wait until they are fetched, in batches. No database is needed, nor the
corpus: the dataset comes with the run.
"""

import contextlib
import json
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from core.config.run_config import RunConfig, rebuilt
from core.data.windows import Dataset
from core.events import Event, Warned
from core.machine.device import peak_flops
from core.machine.pace import NO_OUTLOOK, Pace
from core.protocol.checkpoint import Checkpoint
from core.protocol.memory import StageMemory
from core.protocol.stage_key import surroundings
from core.protocol.train import train
from core.protocol.weights_file import Kept
from core.session.run import Training, new_clock
from core.session.together import Job, led
from core.stages.lm import Progress
from core.stages.trainer import Weights
from core.sweeps.remote.messages import Answer, Happened, Left, Message, Over, Reached, Task, Trained, Wanted

BATCH_SECONDS = 0.1
"""Time in which messages are gathered before they go, unless somebody waits for them."""
MOST_WAITING = 10_000
"""Messages that wait at most; a run that says more waits itself."""
LOOK_SECONDS = 0.2
"""Interval at which a run that waits looks whether it is to stop."""


class _ToldToStop(BaseException):
    """The run is to end."""


class Trainer:
    """Trains one run at a time, and keeps the dataset and shared results for the next.

    Attributes:
        training: what trains a run.
    """

    training: Training = staticmethod(train)

    def __init__(self) -> None:
        self._memory = StageMemory()
        self._held: tuple[str, Dataset] | None = None
        self._run: _Run | None = None

    def begin(self, task: Task, key: str, get: Callable[[], Dataset]) -> tuple[str, ...]:
        """Begin to train a run; return what its last bits depend on here (`stage_key.surroundings`).

        Args:
            key: name of the dataset by its content.
            get: returns the dataset; called unless the run before had the same.
        """
        config = rebuilt(json.loads(task.config), "the sweep")
        if self._held is None or self._held[0] != key:
            self._held = key, get()
        self._run = _Run(self.training, config, task, self._held[1], self._memory)
        return surroundings(config.machine.device)

    def fetch(self, wait: float) -> list[Message]:
        """Return what the run has said since the last call, after so many seconds at most if it says nothing."""
        assert self._run is not None
        return self._run.fetch(wait)

    def answer(self, answer: Answer) -> None:
        """Give the run the turn that it waits for."""
        assert self._run is not None
        self._run.answers.put(answer)

    def stop(self, wait: float) -> tuple[list[Message], bool]:
        """End the run at its step; return what was not fetched, and whether it ended within so many seconds."""
        return ([], True) if self._run is None else self._run.stop(wait)


class _Run:
    """A run in training in a thread of its own."""

    def __init__(
        self, training: Training, config: RunConfig, task: Task, dataset: Dataset, memory: StageMemory
    ) -> None:
        self.answers: queue.Queue[Answer | None] = queue.Queue()
        self._messages: queue.Queue[Message] = queue.Queue(MOST_WAITING)
        self._told_to_stop = threading.Event()
        self._thread = threading.Thread(
            target=self._train, args=(training, config, task, dataset, memory), name="training", daemon=True
        )
        self._thread.start()

    def fetch(self, wait: float) -> list[Message]:
        """Return the next messages in order, of a stage's progress the newest only."""
        found: list[Message] = []
        until = time.monotonic() + wait
        with contextlib.suppress(queue.Empty):
            while not (found and isinstance(found[-1], Wanted | Over)):
                found.append(self._messages.get(timeout=max(0.0, until - time.monotonic())))
                if len(found) == 1:
                    until = time.monotonic() + BATCH_SECONDS
        newest = {message.stage: message for message in found if isinstance(message, Reached)}
        return [one for one in found if not isinstance(one, Reached) or newest[one.stage] is one]

    def stop(self, wait: float) -> tuple[list[Message], bool]:
        """End the training at its step."""
        self._told_to_stop.set()
        self.answers.put(None)
        self._thread.join(wait)
        left = []
        while not self._messages.empty():
            left.append(self._messages.get())
        return left, not self._thread.is_alive()

    def say(self, message: Message) -> None:
        """Hand out a message, once there is room for it."""
        while not self._told_to_stop.is_set():
            with contextlib.suppress(queue.Full):
                self._messages.put(message, timeout=LOOK_SECONDS)
                return
        raise _ToldToStop

    def ask(self, stage: str) -> Answer:
        """Ask for a stage's turn, and wait for it."""
        self.say(Wanted(stage))
        answer = self.answers.get()
        if answer is None:
            raise _ToldToStop
        return answer

    def _train(self, training: Training, config: RunConfig, task: Task, dataset: Dataset, memory: StageMemory) -> None:
        try:
            clock = new_clock(config, profile=task.profile)
            alone = partial(training, config, dataset, memory, _Sender(self.say, self.ask), clock, task.threads)
            events = led(Job(task.config, dataset.fingerprint, task.threads), alone)
            pace = Pace(task.threads, NO_OUTLOOK, partial(peak_flops, config))
            with closing(events), closing(pace.watch(events)) as watched:
                for event in watched:
                    self.say(Happened(event))
            self.say(Over())
        except _ToldToStop:
            pass
        except Exception as error:
            with contextlib.suppress(_ToldToStop):
                self.say(Over(_portable(error)))


class _Sender(Checkpoint):
    """A checkpoint whose files are elsewhere: what is trained is sent there, what was trained comes with the turn."""

    def __init__(self, say: Callable[[Message], None], ask: Callable[[str], Answer]) -> None:
        super().__init__(Path(), "", "")
        self._say, self._ask = say, ask
        self._answer = Answer()

    @contextlib.contextmanager
    def turn(self, stage: str) -> Iterator[None]:
        """Wait for the stage's turn, and say when it is over."""
        self._answer = self._ask(stage)
        yield
        self._say(Left(stage))

    def recall(self, stage: str) -> Kept | None:
        """Return the stage whose turn it is, if it was trained already."""
        return self._answer.kept

    def keep(self, stage: str, events: Sequence[Event], weights: Weights) -> None:
        """Send a finished stage, unless it came from there."""
        if self._answer.kept is None:
            self._say(Trained(stage, tuple(events), _copied(weights)))

    def progress(self, stage: str) -> Progress | None:
        """Return where the training stood of the stage whose turn it is."""
        return self._answer.progress

    def keep_progress(self, stage: str, progress: Progress) -> None:
        """Send where the training of the stage stands."""
        best = progress.best_weights
        weights = _copied(progress.weights)
        best = weights if best is progress.weights else _copied(best)
        self._say(Reached(stage, Progress(progress.epochs, weights, best, _copied(progress.moments))))

    def flush(self) -> None:
        """Do nothing: all has been sent."""

    def warnings(self) -> list[Warned]:
        """Return none: who writes the files has them."""
        return []


def _copied(weights: Weights) -> Weights:
    """Return weights on the CPU that no step changes any more."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its traceback from here as a note."""
    note = "".join(traceback.format_exception(error))
    error.add_note(f"where it was trained:\n{note}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a class of somebody else's does
        error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"where it was trained:\n{note}")
    return error
