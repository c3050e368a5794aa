"""Runs on a pretrained model, from the command line to the commands that look into them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Eetui, set_options
from tests.core.backbones.tiny import save_tiny

FEW = ("seq_len=8", "num_samples=80", "batch_size=4", "max_epochs=1", "machine.threads=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_run_is_trained_and_looked_into(eetui: Eetui, folder: Path, text: Path, tmp_path: Path) -> None:
    where = {"EETUI_DB": str(tmp_path / "runs.db"), "EETUI_CACHE": str(tmp_path / "cache")}
    values = set_options(*FEW, "block_layers=every=1")
    ran = eetui("run", "--no-ui", "--model", f"hf:{folder}", "--corpus", str(text), "-m", "gain", *values, **where)
    assert ran.returncode == 0, ran.stderr
    assert "evaluation  early exit: PPL" in ran.stderr
    for command, words in (
        (("quality", "1"), "Quality against savings"),
        (("diagnose", "1"), "Whole model, calibration"),
        (("generate", "1", "--prompt", "w1 w2", "--max-tokens", "3"), "w1 w2"),
    ):
        done = eetui(*command, **where)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    shutil.move(folder / "config.json", tmp_path)
    (folder / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    changed = eetui("generate", "1", "--prompt", "w1", **where)
    assert changed.returncode == 2
    assert "has changed: its content is no longer that of the run" in changed.stderr


def test_a_probe_is_json_on_request(eetui: Eetui, folder: Path, text: Path) -> None:
    done = eetui("probe", f"hf:{folder}", "--corpus", str(text), "--json", *set_options("seq_len=8", "batch_size=4"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [layer["layer"] for layer in found["layers"]] == [1, 2, 3]
    assert "worth trying" in found["verdict"] or "little to gain" in found["verdict"]


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
