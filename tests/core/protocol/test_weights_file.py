"""A checkpoint file is what was written, or counts as not there: whatever was done to it in between."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from core.events import Epoch, Event, StageEnded, StageStarted
from core.protocol import weights_file
from core.protocol.weights_file import Label, UnusableError, read, write

LABEL = Label("origin", "7 1.5", "block0.lm")
PARTIAL = Label("origin", "7 1.5", "block0.lm.partial")
EPOCH = Epoch("block0.lm", 1, 3.25, 3.0, None, None, True, 3, 0.5)
EVENTS: tuple[Event, ...] = (
    StageStarted("block0.lm", "lm", 0, 5, 2, 80),
    EPOCH,
    StageEnded("block0.lm", 1.5),
)
FLIPS = 300


def tensors() -> dict[str, torch.Tensor]:
    """One of every kind that is kept: matrices, the 0-dimensional counts of the optimizer, all number types."""
    draw = torch.Generator().manual_seed(3)
    return {
        "head.weight": torch.randn(7, 5, generator=draw),
        "step": torch.tensor(12.0),
        "half": torch.randn(4, generator=draw).bfloat16(),
        "double": torch.randn(2, 3, generator=draw).double().t(),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "block0.lm.safetensors"
    write(path, LABEL, EVENTS, tensors())
    return path


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as opened:
        return dict(opened.metadata())


def rewritten(path: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """The same tensors under other metadata."""
    metadata = metadata_of(path)
    change(metadata)
    save_file({name: tensor.contiguous() for name, tensor in tensors().items()}, path, metadata)
    return path


def test_what_is_written_is_read(file: Path) -> None:
    kept = read(file, LABEL)
    assert kept is not None
    assert kept[0] == EVENTS
    assert kept[1].keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert kept[1][name].dtype == tensor.dtype
        assert torch.equal(kept[1][name], tensor)


def test_the_tensors_go_to_the_file_as_the_library_lays_them_out_and_are_not_copied(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, parts = tensors(), list[bytes | memoryview]()
    monkeypatch.setattr(weights_file, "write_atomically", lambda path, content, durable: parts.extend(content))
    write(file, LABEL, EVENTS, kept)
    library = save({name: tensor.contiguous() for name, tensor in kept.items()})
    assert b"".join(parts[2:]) == library[8 + int.from_bytes(library[:8], "little") :]
    kept["head.weight"].zero_()
    assert bytes(7 * 5 * 4) in [bytes(part) for part in parts]


def test_a_file_that_is_not_there_is_nothing_and_no_complaint(tmp_path: Path) -> None:
    assert read(tmp_path / "none.safetensors", LABEL) is None
    (tmp_path / "file").write_text("")
    assert read(tmp_path / "file" / "none.safetensors", LABEL) is None


@pytest.mark.parametrize("name", [name for name, tensor in tensors().items() if tensor.numel()])
def test_one_bit_of_any_tensor_is_noticed(name: str, file: Path) -> None:
    content = bytearray(file.read_bytes())
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    del header["__metadata__"]
    data = len(content) - max(each["data_offsets"][1] for each in header.values())
    content[data + header[name]["data_offsets"][0]] ^= 1
    file.write_bytes(content)
    with pytest.raises(UnusableError, match="damaged: its content is not what was written"):
        read(file, LABEL)


def test_no_flipped_bit_goes_unnoticed_and_none_is_a_traceback(file: Path) -> None:
    whole, draw = file.read_bytes(), random.Random(1)
    for place in draw.sample(range(8 * len(whole)), FLIPS):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        with pytest.raises(UnusableError):
            read(file, LABEL)


def test_a_file_cut_short_at_any_place_is_unusable(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(UnusableError):
            read(file, LABEL)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (Label("other", "7 1.5", "block0.lm"), "another config or text"),
        (Label("origin", "8 1.5", "block0.lm"), "another run"),
        (Label("origin", "7 2.5", "block0.lm"), "another run"),
        (Label("origin", "7 1.5", "block0.exit"), "another stage"),
        (Label("origin", "7 1.5", "block0.lm.partial"), "another stage"),
    ],
)
def test_a_file_of_something_else_is_unusable(label: Label, reason: str, file: Path) -> None:
    with pytest.raises(UnusableError, match=reason):
        read(file, label)


@pytest.mark.parametrize("name", ["origin", "run", "stage", "events", "digest"])
def test_metadata_that_lack_something_are_unusable(name: str, file: Path) -> None:
    with pytest.raises(UnusableError, match="its metadata are damaged"):
        read(rewritten(file, lambda metadata: metadata.pop(name)), LABEL)


def test_metadata_may_be_missing_altogether(file: Path) -> None:
    with pytest.raises(UnusableError, match="its metadata are damaged"):
        read(rewritten(file, dict.clear), LABEL)


STARTED = ["StageStarted", json.dumps({"stage": "block0.lm", "kind": "lm", "block": 0, "epochs": 5, "steps": 2})]
BAD_EVENTS: dict[str, Any] = {
    "not JSON": "not JSON",
    "nothing": "",
    "a number": "7",
    "null": "null",
    "not pairs": "[1, 2]",
    "too long": '[["StageEnded", "{}", 1]]',
    "an unknown kind": '[["Explosion", "{}"]]',
    "not JSON inside": '[["StageEnded", "{"]]',
    "a list inside": '[["StageEnded", "[1]"]]',
    "a field is missing": json.dumps([STARTED]),
    "one too many": '[["StageEnded", "{\\"stage\\": \\"block0.lm\\", \\"seconds\\": 1.0, \\"more\\": 1}"]]',
    "nested without end": "[" * 100_000,
    "none": "[]",
}


@pytest.mark.parametrize("events", BAD_EVENTS.values(), ids=BAD_EVENTS)
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_damaged_events_are_unusable_in_files_with_a_digest_and_without(events: str, old: bool, file: Path) -> None:
    def change(metadata: dict[str, str]) -> None:
        metadata["events"] = events
        for name in ("run", "stage", "digest") if old else ():
            del metadata[name]

    with pytest.raises(UnusableError):
        read(rewritten(file, change), LABEL)


WRONG_VALUES: list[tuple[str, object]] = [
    ("epoch", "1"), ("epoch", 1.5), ("epoch", True), ("loss", "3"), ("loss", None), ("val_loss", [3.0]),
    ("improved", 1), ("patience_left", 0.5), ("seconds", {}), ("stage", 7),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=str)
def test_a_value_of_the_wrong_type_is_unusable_even_without_a_digest(
    name: str, value: object, file: Path, tmp_path: Path
) -> None:
    row = json.loads(metadata_of(file)["events"])[1]
    row[1] = json.dumps(json.loads(row[1]) | {name: value})
    path = tmp_path / "block0.lm.partial.safetensors"
    save_file({"weights/a": torch.zeros(2)}, path, {"origin": "origin", "events": json.dumps([row])})
    with pytest.raises(UnusableError):
        read(path, PARTIAL)


def as_before(path: Path, label: Label, events: tuple[Event, ...]) -> None:
    """A file as earlier versions wrote it: origin and events alone."""
    write(path, label, events, tensors())
    rewritten(path, lambda metadata: [metadata.pop(name) for name in ("run", "stage", "digest")])


def test_a_file_of_an_earlier_version_is_read_by_what_its_events_say(tmp_path: Path) -> None:
    whole, partial = tmp_path / "whole", tmp_path / "partial"
    as_before(whole, LABEL, EVENTS)
    as_before(partial, PARTIAL, (EPOCH,))
    for path, label, events in ((whole, LABEL, EVENTS), (partial, PARTIAL, (EPOCH,))):
        kept = read(path, label)
        assert kept is not None
        assert kept[0] == events
    for path, label in (
        (whole, Label("origin", "7 1.5", "block0.exit")),
        (whole, PARTIAL),
        (partial, LABEL),
        (partial, Label("origin", "7 1.5", "block1.lm.partial")),
    ):
        with pytest.raises(UnusableError, match="another stage"):
            read(path, label)


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(weights_file.write_atomically.__globals__["os"], name)

        def noted(*arguments: Any, real: Any = real, name: str = name) -> None:
            done.append(name)
            real(*arguments)

        monkeypatch.setattr(f"os.{name}", noted)
    write(tmp_path / "folder" / "file", LABEL, EVENTS, tensors())
    assert done == ["fsync", "replace", "fsync"]


def test_what_can_not_be_brought_to_the_disk_leaves_the_file_before(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shutil.copy(file, file.with_name("copy"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(file, LABEL, EVENTS, {"head.weight": torch.ones(7, 5)})
    assert file.read_bytes() == Path(before).read_bytes()
    assert {path.name for path in file.parent.iterdir()} == {file.name, "copy"}
