"""Exits exported as files of their own: used by the lines of their card, and by eetui, without the database."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.analysis import adapter
from core.analysis.adapter import adapter_of, load_adapter, write_adapter
from core.analysis.adapter_card import model_card
from core.analysis.text_generator import open_generator
from core.analysis.trained_model import TrainedModel
from core.config.run_config import build, preset_layer, set_layer
from core.early_exit.sampling import GenerationOptions
from core.errors import ConfigError, UsageError
from core.session.plan import Plan
from core.session.prepare import prepare
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.backbones.tiny import save_tiny
from tests.trained_run import train_run

pytest.importorskip("transformers")
GREEDY = GenerationOptions(max_tokens=4, temperature=0)
CASES = [
    ("llama", "loss", "affine", "linear"),
    ("llama", "gain", "mlp", "linear"),
    ("gpt2", "loss", "norm", "mlp"),
    ("gpt_neox", "margin", "head", "linear"),
]
"""Architecture, method, readout, classifier."""


def exported(
    folder: Path, text: Path, model_type: str, method: str, readout: str, classifier: str, preset: str = "pretrained"
) -> Path:
    """Train a run on a tiny model and export its exits; return the folder of both, the exits in `exits`."""
    whole = preset == "layerskip"
    model = save_tiny(folder / "model", model_type, bos_token="w0" if whole else None, tie_word_embeddings=whole)
    values = (
        f"model.source=hf:{model}", f"data.corpus={text}", "seq_len=8", "num_samples=40", "machine.threads=1",
        "machine.device=cpu", "block_layers=1,1,1", "batch_size=4", "max_epochs=1", f"method={method}",
        f"readout={readout}", f"exit.classifier={classifier}", "exit.policy=quantile",
        "exit.classifier_fit=adam", f"data.bos_token={str(whole).lower()}",
    )  # fmt: skip
    config = build([preset_layer(preset), *map(set_layer, values)])
    with Writer(folder / "runs.db") as store:
        prepared = prepare(Plan((config,), (None,)), store)
        assert run_experiment(prepared, store, lambda run, events: None) == ["finished"]
    with Reader(folder / "runs.db") as reader:
        found = adapter_of(reader, 1)
    write_adapter(found, folder / "exits", model_card(found))
    return folder


def code_of(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize(("model_type", "method", "readout", "classifier"), CASES)
def test_the_lines_of_the_card_decide_and_predict_as_the_run_does(
    tmp_path: Path,
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_type: str,
    method: str,
    readout: str,
    classifier: str,
) -> None:
    exported(tmp_path, text, model_type, method, readout, classifier)
    with Reader(tmp_path / "runs.db") as reader:
        generator = open_generator(reader, 1)
    plain, with_eetui = code_of((tmp_path / "exits" / "README.md").read_text())
    monkeypatch.chdir(tmp_path / "exits")
    settings = json.loads(Path("config.json").read_text())
    blocks = []
    for threshold in (-1.0, 2.0, settings["exits"][0]["threshold"]):
        settings["exits"][0]["threshold"] = threshold
        Path("config.json").write_text(json.dumps(settings))
        found: dict[str, object] = {}
        exec(plain, found)
        thresholds = (threshold, *generator.thresholds[1:])
        loaded = load_adapter(tmp_path / "exits")
        assert loaded.thresholds == thresholds
        (piece,) = loaded.write("The", GenerationOptions(max_tokens=1, temperature=0))
        assert (found["block"], int(found["logits"].argmax())) == (piece.token.block, piece.token.token)  # type: ignore[attr-defined]
        assert float(found["logits"].softmax(-1).max()) == pytest.approx(piece.token.probability, rel=1e-4)  # type: ignore[attr-defined]
        blocks.append(piece.token.block)
    assert blocks[0] == 0
    assert blocks[1] > 0
    shutil.move(tmp_path / "runs.db", tmp_path / "gone.db")
    exec(with_eetui, {})
    assert f"after {settings['layers'][blocks[2]]} layers" in capsys.readouterr().out
    assert list(loaded.write("w1 w2 w3", GREEDY)) == list(generator.write("w1 w2 w3", GREEDY))


def test_thresholds_and_price_are_among_the_weights_and_a_moved_model_is_found(tmp_path: Path, text: Path) -> None:
    exported(tmp_path, text, *CASES[0])
    weights = load_file(tmp_path / "exits" / "adapter.safetensors")
    settings = json.loads((tmp_path / "exits" / "config.json").read_text())
    assert weights["thresholds"].tolist() == [one["threshold"] for one in settings["exits"]]
    assert {name.partition(".")[0] for name in weights} == {"classifiers", "readouts", "shortcuts", "thresholds"}
    assert not any(torch.equal(weight, torch.zeros_like(weight)) for weight in weights.values())
    shutil.move(tmp_path / "model", tmp_path / "moved")
    with pytest.raises(ConfigError, match="is not there"):
        load_adapter(tmp_path / "exits")
    assert load_adapter(tmp_path / "exits", f"{tmp_path}/moved").name == settings["run"]["name"]
    words = tmp_path / "moved" / "tokenizer.json"
    words.write_text(words.read_text() + " ")
    with pytest.raises(ConfigError, match="has changed: its tokenizer"):
        load_adapter(tmp_path / "exits", f"hf:{tmp_path}/moved")
    del settings["base_model"]["tokenizer_sha256"]  # an adapter of before tokenizers had a hash
    (tmp_path / "exits" / "config.json").write_text(json.dumps(settings))
    assert load_adapter(tmp_path / "exits", f"{tmp_path}/moved").name == settings["run"]["name"]
    (tmp_path / "moved" / "config.json").write_text((tmp_path / "moved" / "config.json").read_text() + " ")
    with pytest.raises(ConfigError, match="has changed"):
        load_adapter(tmp_path / "exits", f"hf:{tmp_path}/moved")


def test_a_model_that_the_run_trained_goes_along_and_needs_no_other(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    exported(tmp_path, text, "llama", "softmax", "final", "linear", preset="layerskip")
    with Reader(tmp_path / "runs.db") as reader:
        generator = open_generator(reader, 1)
    expected = list(generator.write("w1 w2 w3", GREEDY))
    shutil.rmtree(tmp_path / "model")
    shutil.move(tmp_path / "exits", tmp_path / "moved")
    assert list(load_adapter(tmp_path / "moved").write("w1 w2 w3", GREEDY)) == expected
    tokens = torch.tensor([generator.tokens("w1 w2 w3")])
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "moved" / "model")
    last, states = len(generator.model.blocks) - 1, generator.model.embed(tokens)
    with torch.no_grad():
        for block in generator.model.blocks:
            states = block(states)
        logits = generator.model.readout(last, states) @ generator.model.head_weight(last).T
        torch.testing.assert_close(trained(tokens).logits, logits, atol=1e-4, rtol=0)
    monkeypatch.chdir(tmp_path / "moved")
    card, found = Path("README.md").read_text(), dict[str, object]()
    exec(code_of(card)[0], found)
    (piece,) = generator.write("The", GenerationOptions(max_tokens=1, temperature=0))
    assert (found["block"], int(found["logits"].argmax())) == (piece.token.block, piece.token.token)  # type: ignore[attr-defined]
    assert "generate(assistant_early_exit=1)" in card
    weights = tmp_path / "moved" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="has changed"):
        load_adapter(tmp_path / "moved")


def test_what_is_no_adapter_is_refused(tmp_path: Path, path: Path, text: Path) -> None:
    run = train_run(path, text)
    with Reader(path) as reader, pytest.raises(UsageError, match="trained a model of its own"):
        adapter_of(reader, run)
    with pytest.raises(UsageError, match=r"config.json can't be read, so .* is no adapter"):
        load_adapter(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UsageError, match="is no eetui exit adapter"):
        load_adapter(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_adapter_is_replaced_on_request_alone_whole_or_not_at_all(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(tmp_path, text, "llama", "softmax", "final", "linear", preset="layerskip")
    folder = tmp_path / "exits"
    with Reader(tmp_path / "runs.db") as reader:
        found = adapter_of(reader, 1)
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(UsageError, match="exits holds an adapter already: --force replaces it, or name a new folder"):
        write_adapter(found, folder, "new card")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for what in ("save", "write_atomically"):
        with monkeypatch.context() as patch:
            patch.setattr(*((TrainedModel, "save", full) if what == "save" else (adapter, "write_atomically", full)))
            with pytest.raises(UsageError, match=r"exits can't be written: No space left on device"):
                write_adapter(found, folder, "new card", force=True)
        assert contents(folder) == before
    write_adapter(replace(found, trained=None), folder, "new card", force=True)
    assert (folder / "README.md").read_text() == "new card"
    assert set(contents(folder)) == {"adapter.safetensors", "config.json", "README.md", "notes.txt"}


def test_what_is_no_adapter_s_is_never_overwritten(tmp_path: Path, text: Path) -> None:
    exported(tmp_path, text, "llama", "softmax", "final", "linear", preset="layerskip")
    with Reader(tmp_path / "runs.db") as reader:
        found = adapter_of(reader, 1)
    base, before = tmp_path / "model", contents(tmp_path / "model")
    with pytest.raises(UsageError, match="model holds something else than an adapter: name a new folder"):
        write_adapter(found, base, "", force=True)
    assert contents(base) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file can't be written: Not a directory"):
        write_adapter(found, tmp_path / "file", "")
    frozen = replace(found, trained=None, settings={**found.settings, "trained_from": None})
    write_adapter(frozen, tmp_path / "new", "")
    shutil.copytree(base, tmp_path / "new" / "model")
    before = contents(tmp_path / "new")
    with pytest.raises(UsageError, match="model is not the adapter's, and would be overwritten: move it, or name"):
        write_adapter(found, tmp_path / "new", "", force=True)
    assert contents(tmp_path / "new") == before
    write_adapter(frozen, tmp_path / "new", "", force=True)
    assert contents(tmp_path / "new") == before


def test_an_adapter_that_is_damaged_is_refused(tmp_path: Path, text: Path) -> None:
    folder = exported(tmp_path, text, "llama", "loss", "affine", "linear") / "exits"
    settings, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "adapter.safetensors")
    for gone, message in (("run", "run.config must be of type dict"), ("exits", "exits must be of type list")):
        (folder / "config.json").write_text(json.dumps({**settings, gone: None}))
        with pytest.raises(UsageError, match=message):
            load_adapter(folder)
    (folder / "config.json").write_text(json.dumps(settings))
    readout = next(name for name in weights if name.startswith("readouts."))
    save_file(weights | {readout: torch.zeros(1)}, folder / "adapter.safetensors")
    with pytest.raises(UsageError, match="of another shape"):
        load_adapter(folder)
