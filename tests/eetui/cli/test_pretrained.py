"""Runs on a pretrained model, from the command line to the commands that look into them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.analysis.probe import Probe
from core.analysis.probed_exits import Exits, ProbedExits
from core.analysis.probed_layers import Layers, PricedOracle, ProbedLayer
from core.analysis.text_generator import open_generator
from core.early_exit.sampling import GenerationOptions
from core.intervals import Interval
from core.store.reader import Reader
from eetui.cli.probe import probe_json, probe_text
from eetui.figures.plot import COLUMN
from eetui.figures.probe import probe_plot
from eetui.figures.render import render
from eetui.inspection.study import load as load_study
from tests.conftest import Eetui, set_options
from tests.core.backbones.tiny import save_tiny
from tests.eetui.plain_text import plain_words

FEW = ("seq_len=8", "num_samples=80", "batch_size=4", "max_epochs=1", "machine.threads=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny(tmp_path_factory.mktemp("tiny"), tie_word_embeddings=True)


def test_a_run_is_trained_and_looked_into(eetui: Eetui, folder: Path, text: Path, tmp_path: Path) -> None:
    where = {"EETUI_DB": str(tmp_path / "runs.db"), "EETUI_CACHE": str(tmp_path / "cache")}
    values = set_options(*FEW, "block_layers=every=1", "exited_state=deferred")
    ran = eetui("run", "--no-ui", "--model", f"hf:{folder}", "--corpus", str(text), "-m", "gain", *values, **where)
    assert ran.returncode == 0, ran.stderr
    assert "evaluation  early exit: PPL" in ran.stderr
    for command, words in (
        (("show", "1"), "hf:"),
        (("diagnose", "1"), "Whole model, calibration"),
        (("quality", "1"), "exited_state=deferred: losses above are exact"),
        (("compare", "1"), "gain-1"),
        (("calibrate", "1", "--max-ppl-increase", "20%"), "PPL, early exit"),
        (("generate", "1", "--prompt", "w1 w2", "--max-tokens", "3"), "w1 w2"),
    ):
        done = eetui(*command, **where)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    with Reader(Path(where["EETUI_DB"])) as reader:
        study = load_study(reader, reader.run(1))
    assert len(study.own.thresholds) == study.table.exits
    written = eetui("export", "1", "--adapter", str(tmp_path / "exits"), **where)
    assert (written.returncode, "wrote the exits of gain-1" in written.stderr) == (0, True), written.stderr
    assert {file.name for file in (tmp_path / "exits").iterdir()} == {"adapter.safetensors", "config.json", "README.md"}
    again = eetui("export", "1", "--adapter", str(tmp_path / "exits"), **where)
    assert (again.returncode, "holds an adapter already: --force replaces it" in again.stderr) == (2, True)
    again = eetui("export", "1", "--adapter", str(tmp_path / "exits"), "--force", **where)
    assert (again.returncode, "in place of those that were there" in again.stderr) == (0, True)
    options = ("--max-tokens", "5", "--temperature", "0", "--speculate", "--draft", "2", "--rounds", "0", "--json")
    drafted = json.loads(eetui("generate", "1", "--prompt", "w1 w2", *options, **where).stdout)
    with Reader(Path(where["EETUI_DB"])) as reader:
        whole = replace(open_generator(reader, 1), thresholds=())
    assert drafted["text"] == "".join(piece.text for piece in whole.write("w1 w2", GenerationOptions(5, temperature=0)))
    assert drafted["speculation"]["drafted"] > 0
    shutil.move(folder / "config.json", tmp_path)
    (folder / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    changed = eetui("generate", "1", "--prompt", "w1", **where)
    assert changed.returncode == 2
    assert "has changed: its content is no longer that of the run" in changed.stderr


def test_a_run_whose_backbone_was_trained_is_looked_into(
    eetui: Eetui, folder: Path, text: Path, tmp_path: Path
) -> None:
    where = {"EETUI_DB": str(tmp_path / "runs.db"), "EETUI_CACHE": str(tmp_path / "cache")}
    values = set_options(*FEW, "block_layers=every=1", "warmup_steps=2")
    options = ("--model", f"hf:{folder}", "--preset", "layerskip", "--corpus", str(text), "-m", "softmax", *values)
    ran = eetui("run", "--no-ui", *options, **where)
    assert ran.returncode == 0, ran.stderr
    assert "backbone.lm  epoch 1" in ran.stderr
    for command, words in (
        (("show", "1"), "train.backbone"),
        (("diagnose", "1"), "Whole model, calibration"),
        (("quality", "1"), "At the run's own thresholds"),
        (("calibrate", "1", "--exit-rate", "50%"), "PPL, early exit"),
        (("generate", "1", "--prompt", "w1 w2", "--max-tokens", "3"), "w1 w2"),
    ):
        done = eetui(*command, **where)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout, done.stdout
    assert eetui("export", "1", "--adapter", str(tmp_path / "exits"), **where).returncode == 0
    assert (tmp_path / "exits" / "model" / "tokenizer.json").is_file()


def test_a_probe_is_written_as_tables_as_json_and_as_a_figure(eetui: Eetui) -> None:
    rows = (ProbedLayer(2, 0.5, 120.0, 80.0, 0.4, 0.6, 3.1), ProbedLayer(4, 0.0, 40.0, 40.0, 1.0, 1.0, 2.5))
    layers = Layers(rows, (PricedOracle(1.0, 0.25, 3.0),), 64, 0.125)
    points = (ProbedExits(0.25, 3.0, -0.25, Interval(-0.35, -0.25, -0.15, "windows")), ProbedExits(0.4, 3.2, 0.1, None))
    exits = Exits((2, 4), (4.0, 2.0), 512, 256, points, Interval(0.0625, 0.125, 0.25, "windows"))
    found = Probe("tiny", 512, layers, exits)
    shown = plain_words(probe_text(found))
    for words in (
        "tiny: fitted on 512 tokens, every layer judged on 64 others, exits on 256",
        "2 50.0% 120.00 80.00 40.0% 60.0% 3.10",
        "1 25.0% 20.09",
        "PPL 54.60 7.39",
        "25.0% 20.09 -0.250 [-0.350, -0.150] 40.0% 24.53 +0.100",
        "Early exit is worth trying: +0.125 nats [+0.062, +0.250] below the static depths",
    ):
        assert words in shown
    data = json.loads(probe_json(found))
    assert (data["layers"]["rows"][0]["affine_ppl"], data["layers"]["oracle"][0]["saved"]) == (80.0, 0.25)
    assert (data["exits"]["points"][0]["interval"]["high"], data["exits"]["gain"]["low"]) == (-0.15, 0.0625)
    assert data["verdict"] == found.verdict
    pytest.importorskip("matplotlib")
    plot = probe_plot(found)
    lines = plot.csv().splitlines()
    assert (lines[0], lines[-1]) == ("way,layers,loss,agrees", "exits by gain,2.4,3.2,")
    assert f"with an affine map,2,{math.log(80.0)},0.6" in lines
    assert '"fixed depth, trained readout",4,2.0,' in lines
    drawn = render(plot, COLUMN, "svg")
    assert b"with an affine map" in drawn
    assert b"exits by gain" in drawn
    assert "beyond the panel" not in plot.caption
    far = replace(found, layers=replace(layers, rows=(replace(rows[0], ppl=12_000.0), rows[1])))
    assert "beyond the panel" in probe_plot(far).caption
    refused = eetui("probe", "hf:x", "--plot", "probe.jpg")
    assert (refused.returncode, "--plot takes a file that ends in svg, pdf, png" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "hf:/no/such/model"), "model hf:/no/such/model is not there"),
        (("--model", "mine"), "model.source must be own or hf:PLACE[@REVISION]"),
        (("--model", "hf:x", "--preset", "sound"), "take preset pretrained (protocol from preset sound; model.source"),
    ],
)
def test_what_is_no_model_is_refused_before_anything_is_stored(
    eetui: Eetui, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = eetui("run", "--no-ui", *arguments, EETUI_DB=str(tmp_path / "runs.db"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_gguf_file_is_refused_before_anything_is_stored(eetui: Eetui, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    where = {"EETUI_DB": str(tmp_path / "runs.db")}
    done = eetui("run", "--no-ui", "--model", f"hf:{tmp_path / 'cut.gguf'}", "--corpus", str(text), **where)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cut.gguf can't be read: the file of 8 bytes is cut off or damaged" in done.stderr
    assert not json.loads(eetui("ls", "--json", **where).stdout)


def test_weights_that_can_not_be_read_end_a_run_with_a_message_alone(
    eetui: Eetui, folder: Path, text: Path, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(folder, tmp_path / "cut"))
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    where = {"EETUI_DB": str(tmp_path / "runs.db"), "EETUI_CACHE": str(tmp_path / "cache")}
    options = ("--model", f"hf:{cut}", "--corpus", str(text), "-m", "gain", *set_options(*FEW))
    done = eetui("run", "--no-ui", *options, **where)
    assert done.returncode == 1
    assert f"the weights of model hf:{cut} can't be read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("assigned", ["block_layers=1,2", "exit.savings=0.5"])
def test_a_probe_does_not_pass_over_what_it_decides_itself(eetui: Eetui, assigned: str) -> None:
    done = eetui("probe", "hf:x", "--set", "seq_len=8", "--set", assigned)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{assigned.partition('=')[0]} means nothing to a probe" in done.stderr


@pytest.mark.parametrize("model", ["own", "mine"])
def test_a_probe_of_no_pretrained_model_is_refused(eetui: Eetui, model: str) -> None:
    done = eetui("probe", model)
    assert done.returncode == 2
    assert f"a probe takes hf: and a folder, a GGUF file or a hub id such as hf:gpt2, got '{model}'" in done.stderr
