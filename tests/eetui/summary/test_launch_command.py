"""The launch command of a run gives that run's config."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config.run_config import Layer, RunConfig, build, preset_layer
from core.errors import UsageError
from core.session import prepare as session_prepare
from core.session.plan import Plan
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from core.sweeps.spec import Spec, grid
from eetui.cli import sweep
from eetui.cli.main import app
from eetui.summary.launch_command import launch_command, recorded_command, sweep_command
from tests.scripted_runs import RECORD

CONFIGS: tuple[tuple[str | None, dict[str, Any]], ...] = (
    ("quick", {}),
    ("seed", {"machine.device": "cpu", "machine.threads": 2}),
    (None, {"max_epochs": 7}),
    ("gone", {"max_epochs": 7}),
    ("quick", {"method": "softmax", "seed": 7, "lr": 3e-4, "eps": 1e-9, "causal": False, "last_exit": False}),
    ("quick", {"block_layers": (1, 2, 3), "corpus": "/a b/it's $HOME.txt", "eval_corpus": "1e3"}),
    ("quick", {"block_layers": (4,), "corpus": 'quo"ted\\', "eval_corpus": "true", "grad_clip": 2.0}),
    ("quick", {"corpus": " spaces ", "eval_corpus": "[1, 2]", "dtype": "float64"}),
)


def stored(path: Path, preset: str | None, values: dict[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    base = preset if preset in ("quick", "seed") else "quick"
    config = build([preset_layer(base), Layer("test", values)])
    with Writer(path) as writer:
        new = NewRun("r", config.method, config.seed, preset, config.model_dump_json(), RECORD, ("a", "b"))
        (run,) = writer.create_experiment([new])
    with Reader(path) as reader:
        return config, reader.run(run)


def test_a_field_newer_than_the_run_is_written_where_the_preset_has_another_value(tmp_path: Path) -> None:
    _, row = stored(tmp_path / "runs.db", "gone", {})
    del row["config"]["model"]["norm"]
    assert "model.norm=post" in shlex.split(launch_command(row))


@pytest.mark.parametrize(("preset", "values"), CONFIGS)
def test_the_command_launches_the_very_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str | None, values: dict[str, Any]
) -> None:
    config, row = stored(tmp_path / "runs.db", preset, values)
    plans: list[Plan] = []

    def prepare(plan: Plan, store: Writer, workers: int) -> None:
        plans.append(plan)
        raise UsageError("enough")

    monkeypatch.setattr(session_prepare, "prepare", prepare)
    words = shlex.split(launch_command(row))
    assert words[:2] == ["eetui", "run"]
    arguments = [*words[1:], "--no-ui", "--db", str(tmp_path / "other.db")]
    result = CliRunner().invoke(app, arguments)
    assert str(result.exception) == "enough", result.output
    (plan,) = plans
    assert plan.configs == (config,)
    assert plan.tags == ("a", "b")


def test_what_a_pretrained_model_filled_in_is_not_part_of_the_command(tmp_path: Path) -> None:
    source = "hf:some/model#sha256=00"
    values = Layer("test", {"method": "gain", "model.source": source, "dim": 576, "readout": "mlp"})
    _, row = stored(tmp_path / "runs.db", "quick", {})
    config = build([preset_layer("pretrained"), values])
    row |= {"preset": "pretrained", "config": config.model_dump(mode="json"), "seed": config.seed}
    words = shlex.split(launch_command(row))
    assert [word for word in words if word.startswith("model.")] == [f"model.source={source}", "model.readout=mlp"]


def test_an_own_method_is_launched_with_the_content_that_the_run_had(tmp_path: Path) -> None:
    file = tmp_path / "my own.py"
    file.write_text("# a method\n")
    config, row = stored(tmp_path / "runs.db", "quick", {"method": str(file)})
    file.unlink()
    words = shlex.split(launch_command(row))
    assert words[words.index("--method") + 1] == config.method
    assert build([Layer("test", {"method": config.method})]).method == config.method


def test_only_what_differs_from_the_preset_is_named(tmp_path: Path) -> None:
    _, row = stored(tmp_path / "runs.db", "quick", {"lr": 3e-4})
    command = "eetui run --preset quick --method loss --seed 42 --set train.lr=0.0003 --tag a --tag b"
    assert launch_command(row) == command


@pytest.mark.parametrize(
    "words",
    [
        ["--preset", "deep", "-m", "gain", "--seeds", "3", "--set", "exit.policy=savings,quantile", "--tag", "a b"],
        ["--preset", "deep", "-m", "loss", "-m", "softmax", "--seed", "7", "--set", "lr=1e-4..3e-4:1e-4", "--set",
         "dropout=0.1,0.2"],
        ["--preset", "quick", "--set", "block_layers=[1,1],[2,2]", "--set", 'corpus="a, b"', "--set", "causal=false"],
        ["--preset", "quick", "--set", "block_layers=[1,1,1]", "--set", 'corpus="1..3"', "--set", "hard_ratio=0.3,0.5"],
        ["--set", "hard_ratio=0.2..0.8", "--set", "lr=0.001..0.1:log", "-m", "loss", "-m", "margin", "--search", "tpe",
         "--trials", "9", "--objective", "eval_ppl,flop_savings", "--constraint", "accuracy>=10%"],
        ["--set", "dim=8..64:8", "--search", "random", "--trials", "3", "--prune"],
    ],
)  # fmt: skip
def test_the_command_of_a_sweep_makes_the_very_sweep(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "--search" in words:
        pytest.importorskip("optuna")
    found: list[Spec] = []

    def make(db: Path, name: str, spec: Spec, *rest: object, **more: object) -> int:
        assert name == "it's"
        found.append(spec)
        return 0

    monkeypatch.setattr(sweep, "_make", make)
    asked = CliRunner().invoke(app, ["sweep", "--name", "it's", *words])
    assert asked.exit_code == 0, asked.exception
    again = shlex.split(sweep_command("it's", found[0]))
    assert again[:2] == ["eetui", "sweep"]
    assert CliRunner().invoke(app, again[1:]).exit_code == 0
    assert found[1] == replace(found[0], base={**found[0].base, "seed": found[0].first_seed})


def test_a_sweep_of_a_preset_that_is_gone_is_made_from_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Spec] = []
    monkeypatch.setattr(sweep, "_make", lambda db, name, spec, *rest, **more: found.append(spec) or 0)
    old = Spec({"method": "loss", "train.lr": 0.002}, {"exit.hard_ratio": (0.3, 0.5)}, 42, 2, "gone")
    assert CliRunner().invoke(app, shlex.split(sweep_command("old", old))[1:]).exit_code == 0
    assert [config for _, config in grid(found[0])] == [config for _, config in grid(old)]


@pytest.mark.parametrize(
    ("command", "tells"),
    [
        ("eetui run --no-ui --seeds 3", True),
        ("eetui", False),
        ("eetui --db runs.db", False),
        ("eetui run --seeds 3", False),
        ("", False),
    ],
)
def test_a_recorded_command_counts_if_it_names_what_is_trained(command: str, tells: bool) -> None:
    row = {"record": json.loads(json.dumps(RECORD | {"command": command}))}
    assert recorded_command(row) == (command if tells else None)
