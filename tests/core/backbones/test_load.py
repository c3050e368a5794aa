"""Loading a pretrained model: its blocks, its memory, and what is refused before anything is loaded."""

import json
from pathlib import Path

import pytest
import torch

from core.backbones import load, model
from core.backbones.load import load_weights, needed_memory, read_dimensions
from core.backbones.model import PretrainedModel, cut, load_cuts, load_pretrained
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.errors import ConfigError, CorpusError
from core.machine import free_memory
from core.pretrained.place import find
from core.pretrained.tokenizer import load_tokenizer
from core.protocol.resolve import resolve
from tests.core.backbones.tiny import save_tiny

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), num_hidden_layers=7)


def config(folder: Path, *assignments: str) -> RunConfig:
    values = [f"model.source=hf:{folder}", "seq_len=8", "machine.threads=1", "machine.device=cpu", *assignments]
    return build([preset_layer("pretrained"), *map(set_layer, values)])


@pytest.mark.parametrize(
    ("asked", "blocks"),
    [
        ([], (1, 1, 2, 1, 2)),
        (["block_layers=3,4"], (3, 4)),
        (["block_layers=every=3"], (3, 3, 1)),
        (["every=6"], (6, 1)),
    ],
)
def test_the_layers_are_cut_into_blocks(folder: Path, asked: list[str], blocks: tuple[int, ...]) -> None:
    found = resolve(config(folder, *asked))
    assert found.model.block_layers == blocks
    assert resolve(found).model.block_layers == blocks
    assert [layer for numbers in cut(blocks) for layer in numbers] == list(range(7))


def test_the_dimensions_are_filled_in_and_the_content_pinned(folder: Path) -> None:
    model = resolve(config(folder)).model
    assert (model.dim, model.num_heads, model.num_kv_heads, model.head_dim, model.ffn_dim) == (24, 4, 2, 8, 40)
    assert model.source.startswith(f"hf:{folder}#sha256=")
    assert build([set_layer("seed=1")]).model == resolve(build([])).model


def test_a_run_s_config_has_the_dimensions_and_is_refused_with_others(folder: Path) -> None:
    found = resolve(config(folder))
    again = config(folder, f"model.source={found.model.source}", "dim=24", "norm=pre")
    assert resolve(again).model == found.model
    with pytest.raises(ConfigError, match=r"model.dim must be left out or 24, as hf:.* has it, got 64"):
        resolve(config(folder, f"model.source={found.model.source}", "dim=64"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("block_layers=3,3", r"model.block_layers 3,3 adds up to 6 layers, and hf:.* has 7"),
        ("block_layers=7", r"makes one block of the 7 layers of hf:.*, and an exit needs a block behind it"),
        ("every=9", r"makes one block of the 7 layers"),
        ("seq_len=65", r"data.seq_len must be at most 64, the context of hf:"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(folder: Path, asked: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config(folder, asked))


@pytest.mark.parametrize("key", ["corpus", "eval_corpus"])
def test_a_text_that_is_not_there_is_said_before_the_model_is_looked_at(
    key: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "resolved", lambda _: pytest.fail("nothing may be read"))
    with pytest.raises(CorpusError, match=r"gone.txt does not exist"):
        resolve(config(folder, f"{key}={tmp_path / 'gone.txt'}"))


def test_too_little_memory_is_said_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = find(f"hf:{folder}")
    _, dimensions = read_dimensions(place)
    monkeypatch.setattr(load, "free_memory", lambda: needed_memory(place, dimensions, "float32") - 1)
    monkeypatch.setattr(load, "transformers", lambda: pytest.fail("nothing may be loaded"))
    with pytest.raises(ConfigError, match=r"and 0.0 GB of memory are free: take machine.dtype=bfloat16"):
        load_weights(place, dimensions, "float32")


def test_the_limit_of_a_container_is_the_memory_that_is_free(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = find(f"hf:{folder}")
    _, dimensions = read_dimensions(place)
    needed = needed_memory(place, dimensions, "float32")
    monkeypatch.setattr(free_memory, "group_folders", lambda *_: [tmp_path])
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text(f"{needed + 1000}\n")
    load_weights(place, dimensions, "float32")
    (tmp_path / "memory.max").write_text(f"{needed + 999}\n")
    with pytest.raises(ConfigError, match=r"memory are free"):
        load_weights(place, dimensions, "float32")


def test_where_the_system_does_not_tell_the_machine_s_memory_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = find(f"hf:{folder}")
    _, dimensions = read_dimensions(place)
    monkeypatch.setattr(load, "free_memory", lambda: None)
    monkeypatch.setattr(load, "total_memory", lambda: 1)
    with pytest.raises(ConfigError, match=r"memory are free"):
        load_weights(place, dimensions, "float32")
    monkeypatch.setattr(load, "total_memory", lambda: None)
    load_weights(place, dimensions, "float32")


@pytest.mark.parametrize("change", ["missing", "of another shape than its configuration says"])
def test_weights_that_the_library_would_make_up_are_refused(change: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, name = save_tiny(tmp_path), "model.layers.1.mlp.up_proj.weight"
    weights = load_file(folder / "model.safetensors")
    rest = {} if change == "missing" else {name: weights[name][:, :4].contiguous()}
    del weights[name]
    save_file(weights | rest, folder / "model.safetensors", {"format": "pt"})
    place = find(f"hf:{folder}")
    with pytest.raises(ConfigError, match=f"do not make a whole model: {name} is {change}; fetch the model again"):
        load_weights(place, read_dimensions(place)[1], "float32")


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, vocab_size=12)
    with pytest.raises(ConfigError, match=r"tokenizer of another model: it has tokens up to number 20, .* knows 12"):
        load_tokenizer(f"hf:{folder}")


def test_a_model_has_its_own_vocabulary(folder: Path) -> None:
    tokenizer, size, beginning = load_tokenizer(f"hf:{folder}")
    assert (size, beginning) == (37, None)
    assert tokenizer.encode("w3 w0").ids == [4, 1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_have_the_dtype_and_readouts_float32(folder: Path, dtype: str) -> None:
    model = load_pretrained(resolve(config(folder, f"machine.dtype={dtype}", "readout=affine")))
    assert isinstance(model, PretrainedModel)
    assert str(next(model.body.layers[0].parameters()).dtype) == f"torch.{dtype}"
    assert {str(weight.dtype) for weight in model.readouts.parameters()} == {"torch.float32"}
    assert not any(weight.requires_grad for weight in model.body.parameters())
    assert sorted(model.readout_weights(0)) == ["readouts.0.linear.bias", "readouts.0.linear.weight"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_cuts_of_a_model_share_its_weights_and_have_readouts_of_their_own(folder: Path, dtype: str) -> None:
    asked = (("block_layers=every=1", "readout=final"), ("block_layers=3,4", "readout=affine"))
    deep, few = load_cuts([resolve(config(folder, f"machine.dtype={dtype}", *each)) for each in asked])
    assert (len(deep.blocks), len(few.blocks)) == (7, 2)
    assert deep.body is few.body
    assert deep.head.weight is few.head.weight
    assert (deep.readout_weights(0), len(few.readout_weights(0))) == ({}, 2)


LAYERSKIP = {
    "_name_or_path": "meta-llama/Llama-3.2-1B", "architectures": ["LlamaForCausalLM"], "attention_bias": False,
    "mlp_bias": False, "pretraining_tp": 1, "rope_theta": 500000.0, "torch_dtype": "float32",
    "transformers_version": "4.47.1", "rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 16,
        "rope_type": "llama3",
    },
}  # fmt: skip
"""Fields of the configuration of a published LayerSkip checkpoint, in the form of its time."""


@torch.no_grad()
def test_a_layerskip_checkpoint_loads_as_it_is_with_an_exit_after_each_layer(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = save_tiny(tmp_path, tie_word_embeddings=True)
    fields = json.loads((folder / "config.json").read_text())
    fields = {key: value for key, value in fields.items() if key not in ("dtype", "rope_parameters")}
    (folder / "config.json").write_text(json.dumps(fields | LAYERSKIP))
    asked = ("block_layers=every=1", "readout=final", "model.last_readout=false")
    model, tokens = load_pretrained(resolve(config(folder, *asked))), torch.tensor([[1, 2, 3, 4, 5]])
    states = model.embed(tokens)
    for block, layers in enumerate(model.blocks):
        states = layers(states)
        logits = model.readout(block, states[0]) @ model.head_weight(block).T
        cut_off = AutoModelForCausalLM.from_pretrained(
            folder, num_hidden_layers=block + 1
        ).eval()  # as LayerSkip drafts
        torch.testing.assert_close(logits, cut_off(tokens).logits[0], atol=1e-4, rtol=1e-4)
