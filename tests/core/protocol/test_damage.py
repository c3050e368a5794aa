"""Files that were damaged or copied over one another: a warning, and the same numbers as without."""

import shutil

import pytest

from core.errors import UsageError
from core.events import Event, StageStarted, Warned
from core.store.files import checkpoint_folder
from tests.core.protocol.bench import Bench, assert_same
from tests.core.training import MakeConfig, numbers, of


def without_warnings(events: list[Event]) -> list[Event]:
    return [event for event in numbers(events) if not isinstance(event, Warned)]


@pytest.mark.parametrize("stage", ["block0.lm", "block0.exit", "block1.lm.partial"])
@pytest.mark.parametrize("part", ["tensors", "metadata"])
def test_one_flipped_bit_is_a_warning_and_trained_again(
    part: str, stage: str, bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    number, whole = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    bench.run(config, number, ("block1.lm", 2, 1))
    path = checkpoint_folder(bench.writer.path, number) / f"{stage}.safetensors"
    content = bytearray(path.read_bytes())
    content[-5 if part == "tensors" else content.index(b"StageStarted" if "partial" not in stage else b"Epoch")] ^= 1
    path.write_bytes(content)
    bench.writer.requeue([number])
    _, events = bench.run(config, number)
    assert without_warnings(events) == without_warnings(expected)
    assert_same(bench.weights(config, number), bench.weights(config, whole))
    (warning,) = [event.message for event in of(Warned, events) if "counts as not there" in event.message]
    assert f"{stage}.safetensors" in warning
    assert warning in bench.reader.state(number).warnings
    assert stage.removesuffix(".partial") not in {event.stage for event in of(StageStarted, events) if event.reused}


def test_a_damaged_file_is_replaced_by_what_was_trained_again(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number, ("evaluation", 1, 1))
    path = checkpoint_folder(bench.writer.path, number) / "block0.lm.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"none")
    bench.writer.requeue([number])
    bench.run(config, number)
    assert bench.checkpoint(config, number).recall("block0.lm") is not None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("block0.exit", "block0.lm"),
        ("block1.lm.partial", "block0.lm"),
        ("block0.lm", "block1.lm.partial"),
        ("../2/block0.lm", "block0.lm"),
        ("../2/block1.lm", "block0.lm"),
    ],
)
def test_a_file_copied_over_another_is_not_taken_for_it(
    source: str, target: str, bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    number, whole = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    bench.run(config, number, ("block1.lm", 2, 1))
    folder = checkpoint_folder(bench.writer.path, number)
    shutil.copy(folder / f"{source}.safetensors", folder / f"{target}.safetensors")
    bench.writer.requeue([number])
    _, events = bench.run(config, number)
    assert without_warnings(events) == without_warnings(expected)
    assert [message for message in of(Warned, events) if "counts as not there" in message.message]


def test_a_damaged_file_says_so_to_who_wants_the_model(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number)
    path = checkpoint_folder(bench.writer.path, number) / "block1.lm.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"none")
    with pytest.raises(UsageError, match=r"weights of block1\.lm.*damaged: its content is not what was written"):
        bench.weights(config, number)


def test_what_a_killed_process_had_half_written_is_swept_away(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number, ("block1.lm", 2, 1))
    folder = checkpoint_folder(bench.writer.path, number)
    (folder / ".block0.lm.safetensors.a1b2c3").write_bytes(b"half")
    bench.writer.requeue([number])
    bench.run(config, number)
    assert all(not name.startswith(".") for name in bench.files(number))
