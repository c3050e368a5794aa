"""One file of a checkpoint: tensors, the events that made them, and the proof that both are what was written.

A safetensors file whose metadata hold a label (origin, run, stage), the events without steps, and a SHA-256 over all of
these and every tensor. It is written part by part, without a copy of its tensors. Files of earlier versions have origin
and events only: they are taken for what their events say.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.data.cache import write_atomically
from core.events import Epoch, Event, StageEnded, StageStarted
from core.stages.trainer import Weights
from core.store import codec

Kept = tuple[tuple[Event, ...], Weights]
"""The events of a stage, without steps, and the weights it produced."""
PARTIAL = ".partial"
"""What the name of a stage in progress ends with."""
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""Names that the format has for dtypes."""
ALIGNMENT = 8
"""Bytes of which the header takes a multiple, so that tensors are aligned behind it."""


@dataclass(frozen=True)
class Label:
    """Label of a weights file: its run, its stage, its kind.

    Attributes:
        origin: digest of the config and the corpus.
        run: the run's number and when it was created.
        stage: its name; with `PARTIAL` where it is in progress.
    """

    origin: str
    run: str
    stage: str


class UnusableError(Exception):
    """The file is there, but is not what was written; the message says what is wrong with it."""


def write(path: Path, label: Label, events: Sequence[Event], tensors: Weights) -> None:
    """Write a file at once or not at all, so that it outlives a power cut.

    Raises:
        OSError, RuntimeError, SafetensorError: it can't be written, or the tensors' device is gone.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(list(codec.encode(events)))
    metadata = {**asdict(label), "events": text, "digest": _digest(label, text, tensors)}
    write_atomically(path, _parts(tensors, metadata), durable=True)


def _parts(tensors: Weights, metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the parts of a safetensors file: the header's length, the header, and each tensor's own memory.

    The library would hold the whole file in memory, twice: the weights of a large model and their moments.
    """
    header: dict[str, object] = {"__metadata__": metadata}
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each is aligned
    end = 0
    for name in ordered:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in ordered:
        yield _bytes(tensors[name])


def read(path: Path, label: Label) -> Kept | None:
    """Read a file, on the CPU; None if there is none.

    Raises:
        UnusableError: it is damaged, or of something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UnusableError(f"it can't be read: {error}") from error
    _check_label(metadata, label)
    events = _events(metadata["events"])
    if not _made_in(label.stage, events):
        raise UnusableError("it is of another stage")
    if "digest" in metadata and metadata["digest"] != _digest(label, metadata["events"], tensors):
        raise UnusableError("it is damaged: its content is not what was written")
    return events, tensors


def _check_label(metadata: dict[str, str], label: Label) -> None:
    """Refuse what is labelled as something else, or not at all."""
    old, new = {"origin", "events"}, {"origin", "events", "run", "stage", "digest"}
    if metadata.keys() != old and metadata.keys() != new:
        raise UnusableError("its metadata are damaged")
    if metadata["origin"] != label.origin:
        raise UnusableError("it is of another config or text")
    if metadata.get("stage", label.stage) != label.stage:
        raise UnusableError("it is of another stage")
    if metadata.get("run", label.run) != label.run:
        raise UnusableError("it is of another run")


def _events(text: str) -> tuple[Event, ...]:
    try:
        rows = [(str(kind), str(data)) for kind, data in json.loads(text)]
        return tuple(event for row in rows for event in codec.checked(row))
    except (codec.UnreadableError, ValueError, TypeError, RecursionError) as error:
        raise UnusableError(f"its events are damaged: {error}") from error


def _made_in(stage: str, events: Sequence[Event]) -> bool:
    """Whether these are the events of that stage: all epochs so far where it is in progress, else from start to end."""
    name = stage.removesuffix(PARTIAL)
    if any(getattr(event, "stage", name) != name for event in events):
        return False
    if stage.endswith(PARTIAL):
        return bool(events) and all(isinstance(event, Epoch) for event in events)
    return len(events) > 1 and isinstance(events[0], StageStarted) and isinstance(events[-1], StageEnded)


def _digest(label: Label, events: str, tensors: Weights) -> str:
    """SHA-256 over the label, the events and each tensor with its name, type and shape."""
    found = hashlib.sha256(json.dumps([*asdict(label).values(), events]).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(_bytes(tensor))
    return found.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
