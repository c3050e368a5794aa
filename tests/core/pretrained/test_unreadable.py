"""Models that transformers can't read: what is wrong with the file, and what to do."""

import re
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from core.pretrained.place import find
from core.pretrained.settings import read_settings
from core.pretrained.tokenizer import load_tokenizer
from core.pretrained.unreadable import unreadable

pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")
FETCH = "is cut off or damaged: compare its size with the original's, and fetch it again"


def write_gguf(path: Path) -> Path:
    """Write a whole GGUF file, of one tensor, that is no language model."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("output.weight", np.ones((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda whole: whole[:-4], FETCH),
        (lambda whole: whole[:60], FETCH),
        (lambda whole: b"", "the file is empty: fetch it again"),
        (lambda whole: b"version https://git-lfs", "the file does not begin with GGUF, so it is another kind of file"),
    ],
)
def test_a_damaged_gguf_file_is_named_with_what_to_do(cut: object, message: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf")
    path.write_bytes(cut(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ConfigError, match=f"model hf:{re.escape(str(path))} can't be read: .*{re.escape(message)}"):
        read_settings(find(f"hf:{path}"))


def test_of_a_whole_gguf_file_it_is_told_what_the_library_said(tmp_path: Path) -> None:
    place = find(f"hf:{write_gguf(tmp_path / 'small.gguf')}")
    assert "the tokenizer of model hf:" in str(unreadable(place, "the tokenizer", ValueError("no\n  words")))
    assert str(unreadable(place, "the tokenizer", ValueError("no\n  words"))).endswith("ValueError: no words")
    with pytest.raises(ConfigError, match=r"^the tokenizer of model hf:.*small.gguf can't be read: "):
        load_tokenizer(place.source)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_a_folder_without_a_tokenizer_is_told_so_whatever_the_library_makes_of_it(
    model_type: str, tmp_path: Path
) -> None:
    from tests.core.backbones.tiny import save_tiny

    folder = save_tiny(tmp_path, model_type)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer: .* holds none of tokenizer.json, .* published with"):
        load_tokenizer(f"hf:{folder}")


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    from core.pretrained.place import pinned

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(ConfigError, match=r"model.safetensors can't be read: Is a directory"):
        pinned(f"hf:{tmp_path}")
