"""References to pretrained models: found, pinned to their content, refused with a reason."""

from pathlib import Path

import pytest

from core.config.run_config import build, set_layer
from core.errors import ConfigError
from core.pretrained.place import content_hash, find, pinned, short_name, tokenizer_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "tokenizer.json").write_text("words")
    return tmp_path / "model"


def test_a_pinned_reference_names_the_content(folder: Path) -> None:
    reference = pinned(f"hf:{folder}")
    place = find(f"hf:{folder}")
    assert reference == f"hf:{folder}#sha256={content_hash(place)}&tokenizer={tokenizer_hash(place)}"
    assert pinned(reference) == reference
    assert short_name(reference) == "model"
    assert find(reference).options == {}


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_model_that_changed_is_refused(folder: Path, file: str) -> None:
    reference = pinned(f"hf:{folder}")
    (folder / file).write_text("other")
    with pytest.raises(ConfigError, match=r"model hf:.*model has changed: .* restore it, or start a new run"):
        find(reference)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "merges.txt", "tokenizer.model"])
def test_a_tokenizer_that_changed_or_came_is_refused(folder: Path, file: str) -> None:
    reference = pinned(f"hf:{folder}")
    (folder / file).write_text("other")
    with pytest.raises(ConfigError, match=r"has changed: its tokenizer is no longer that of the run .* restore it, or"):
        find(reference)


def test_a_reference_of_before_tokenizers_had_a_hash_holds_for_any_and_stays_as_it_is(folder: Path) -> None:
    old = f"hf:{folder}#sha256={content_hash(find(f'hf:{folder}'))}"
    (folder / "tokenizer.json").write_text("other")
    assert find(old) == find(f"hf:{folder}")
    assert pinned(old) == old
    (folder / "config.json").write_text("other")
    with pytest.raises(ConfigError, match=r"has changed: its content"):
        find(old)


@pytest.mark.parametrize(("file", "changed"), [("small.gguf", "content"), ("tokenizer.json", "tokenizer")])
def test_of_a_gguf_file_its_own_tokenizer_and_one_beside_it_count(file: str, changed: str, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    reference = pinned(f"hf:{tmp_path / 'small.gguf'}")
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    find(reference)
    (tmp_path / file).write_bytes(b"other")
    with pytest.raises(ConfigError, match=f"has changed: its {changed}"):
        find(reference)


def test_a_copy_elsewhere_has_the_same_hash(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert content_hash(find(f"hf:{copy}")) == content_hash(find(f"hf:{folder}"))
    assert tokenizer_hash(find(f"hf:{copy}")) == tokenizer_hash(find(f"hf:{folder}"))


def test_a_gguf_file_is_a_model_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    place = find(f"hf:{tmp_path / 'small.gguf'}")
    assert place.options == {"gguf_file": "small.gguf"}
    assert place.weight_files == [tmp_path / "small.gguf"]
    with pytest.raises(ConfigError, match=r"no config.json; name one of its GGUF files: small.gguf"):
        find(f"hf:{tmp_path}")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"has no weights: .* holds no .safetensors file"):
        find(f"hf:{folder}")


@pytest.mark.parametrize("name", ["/no/such/folder", "./gone", "gone.gguf"])
def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not there: no such file or folder"):
        find(f"hf:{name}")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"is a file, but no GGUF file"):
        find(f"hf:{tmp_path / 'model.bin'}")


def test_a_missing_hub_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"model hf:nobody/nothing@v1 can't be had from the hub: .*local folder"):
        find("hf:nobody/nothing@v1")


@pytest.mark.parametrize("source", ["gpt2", "hf:", ""])
def test_a_source_of_another_form_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=r"model.source must be own or hf:PLACE\[@REVISION\]"):
        build([set_layer(f"model.source={source}")])
