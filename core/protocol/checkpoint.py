"""A run's checkpoint: the weights of its finished stages and, while a block trains, where its training stands.

One file for each stage (`weights_file`), written at once or not at all. It knows which run, config, corpus and stage
it is of, and holds a digest of its content, so that weights of anything else, or damaged ones, are never taken for the
run's.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from core.config.run_config import RunConfig, fields
from core.config.sections import PRETRAINED_FIELDS, RECIPE_FIELDS
from core.errors import UsageError
from core.events import Epoch, Event, Warned
from core.model import Transformer
from core.protocol import weights_file
from core.protocol.build import build_model
from core.protocol.order import planned_stages
from core.protocol.patience import IMPATIENT, Patience
from core.protocol.weights_file import PARTIAL, Kept, Label, UnusableError
from core.stages.lm import Progress
from core.stages.trainer import Weights
from core.store.files import checkpoint_folder

FORMAT = 1
"""To be raised when files of before could be mistaken for ones of now."""
WRITE_SECONDS = 60.0
"""Progress within a stage is written at most this often, and when the run is stopped."""


class Checkpoint:
    """The files of one run. One that can't be written is a warning; one that can't be used too, and is not there.

    Attributes:
        run: the run's number and when it was created, which together no other run has.
        patience: with a disk that has no room.
        unusable: what is wrong with the files that can't be used, by stage.
        loss: what follows where they can't be written.
    """

    loss = "were the run interrupted, it would have to train again what was trained since"

    def __init__(self, folder: Path, origin: str, run: str) -> None:
        self.folder, self.origin, self.run = folder, origin, run
        self.patience: Patience = IMPATIENT
        self.unusable: dict[str, str] = {}
        self._sound: set[str] = set()
        self._unwritten: tuple[str, Progress] | None = None
        self._last_written = time.monotonic()
        self._warnings: list[Warned] = []
        self._warned = False

    @staticmethod
    def of_run(database: Path, run: int, config: RunConfig, fingerprint: str, created: float) -> "Checkpoint":
        """Return the checkpoint of a stored run.

        Args:
            config: resolved, as it is stored.
            fingerprint: of the corpus, as it is stored in the run's record.
            created: when the run was created, as it is stored.
        """
        text = f"{FORMAT}\n{fingerprint}\n{_text(config)}"
        origin = hashlib.sha256(text.encode()).hexdigest()
        return Checkpoint(checkpoint_folder(database, run), origin, f"{run} {created!r}")

    def key(self, stage: str) -> str | None:
        """Return the key of a stage that is shared; None for one that is the run's alone."""
        return None

    def alone(self) -> "Checkpoint":
        """Return the run's own files, without those of stages that it shares."""
        own = Checkpoint(self.folder, self.origin, self.run)
        own.patience = self.patience
        return own

    def has(self, stage: str) -> bool:
        """Tell whether there is a file of a finished stage."""
        return self._path(stage).exists()

    @contextlib.contextmanager
    def turn(self, stage: str) -> Iterator[None]:
        """Be alone with a stage while the block computes it; a run's own stages are nobody else's."""
        yield

    def recall(self, stage: str) -> Kept | None:
        """Return the events and the weights of a finished stage, on the CPU; None if they are not there."""
        return self._read(stage)

    def keep(self, stage: str, events: Sequence[Event], weights: Weights) -> None:
        """Write a finished stage, unless it is there; what was kept of its progress is of no more use."""
        if self._unwritten and self._unwritten[0] == stage:
            self._unwritten = None
        if stage in self._sound or self._write(stage, events, weights):
            with contextlib.suppress(OSError):  # then it stays, and is not asked for again
                self._path(_partial(stage)).unlink()

    def progress(self, stage: str) -> Progress | None:
        """Return the training progress of a block as it was last written; None if it was not."""
        found = self._read(_partial(stage))
        if found is None:
            return None
        events, tensors = found
        parts = {name: _part(tensors, name) for name in ("weights", "best", "moments")}
        return Progress(
            epochs=tuple(event for event in events if isinstance(event, Epoch)),
            weights=parts["weights"],
            best_weights=parts["best"] or parts["weights"],
            moments=parts["moments"],
        )

    def keep_progress(self, stage: str, progress: Progress) -> None:
        """Hold the newest progress of a stage, and write it if that was not done lately."""
        self._unwritten = (stage, progress)
        if time.monotonic() - self._last_written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the progress that is held."""
        if self._unwritten is None:
            return
        stage, progress = self._unwritten
        parts = {"weights": progress.weights, "moments": progress.moments}
        if progress.best_weights is not progress.weights:
            parts["best"] = progress.best_weights
        tensors = {f"{part}/{name}": tensor for part, values in parts.items() for name, tensor in values.items()}
        self._write(_partial(stage), progress.epochs, tensors)
        self._unwritten = None
        self._last_written = time.monotonic()

    def sweep(self) -> None:
        """Delete what a process that was killed had half written; nobody else may be training the run."""
        for path in self.folder.glob(".*.safetensors.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def warnings(self) -> list[Warned]:
        """Return the warnings since the last call: files that can't be used and, once, that one can't be written."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _label(self, name: str) -> Label:
        return Label(self.origin, self.run, name)

    def _read(self, name: str) -> Kept | None:
        try:
            kept = weights_file.read(self._path(name), self._label(name))
        except UnusableError as error:
            if name not in self.unusable:
                message = f"{self._path(name)} counts as not there, and what it held is trained again: {error}"
                self._warnings.append(Warned(message))
            self.unusable[name] = str(error)
            return None
        if kept is not None:
            self._sound.add(name)
        return kept

    def _write(self, name: str, events: Sequence[Event], tensors: dict[str, Tensor]) -> bool:
        def write() -> None:
            self.folder.parent.mkdir(exist_ok=True)  # not the folder of a database that somebody removed
            weights_file.write(self._path(name), self._label(name), events, tensors)

        try:
            self.patience.attempt(write)
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: the device is gone
            if not self._warned:
                self._warnings.append(Warned(f"the checkpoint {self.folder} can't be written ({error}): {self.loss}"))
            self._warned = True
            return False
        self._sound.add(name)
        self.unusable.pop(name, None)
        return True


def _text(config: RunConfig) -> str:
    """Write the config as JSON, without fields newer than the first checkpoints if they have the value these imply."""
    later = {
        "machine": {"head_dtype"},
        "data": {"full_batches", "stride", "bos_token"},
        "model": set(PRETRAINED_FIELDS),
        "train": {"readout_target", "exits_from", "backbone", *RECIPE_FIELDS},
        "exit": {"policy", "price", "savings", "loss_budget", "cost", "classifier"},
    }
    implied = {
        section: {name for name in names if getattr(getattr(config, section), name) == fields()[f"{section}.{name}"][1]}
        for section, names in later.items()
    }
    return config.model_dump_json(exclude=implied)


def _partial(stage: str) -> str:
    return f"{stage}{PARTIAL}"


def _part(tensors: dict[str, Tensor], part: str) -> Weights:
    prefix = f"{part}/"
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def trained_weights(config: RunConfig, checkpoint: Checkpoint) -> Weights:
    """Return what a finished run trained, on the CPU, by its names in the model; some stages add names of their own.

    Raises:
        UsageError: the checkpoint does not hold all of it.
    """
    weights: Weights = {}
    for stage in planned_stages(config):
        if stage.trains:
            kept = checkpoint.recall(stage.name)
            if kept is None:
                reason = checkpoint.unusable.get(stage.name)
                raise UsageError(
                    f"{checkpoint.folder} does not hold the run's weights of {stage.name}: a run that did not finish "
                    f"can be resumed; any other must be trained again"
                    + (f"; the file can't be used: {reason}" if reason else "")
                )
            weights |= kept[1]
    return weights


def load_model(config: RunConfig, vocab_size: int, checkpoint: Checkpoint) -> Transformer:
    """Load the model that a finished run ended with, on the CPU.

    Raises:
        UsageError: the checkpoint does not hold all its weights.
    """
    weights = trained_weights(config, checkpoint)  # first: a pretrained model takes long to load
    model = build_model(config, vocab_size)
    model.load_state_dict(weights, strict=False)
    return model
