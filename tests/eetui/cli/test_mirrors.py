"""`--mirror` of commands whose runs are trained from a queue: sweep, its commands, and work."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from eetui.cli import working
from eetui.cli.main import app
from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options
from tests.eetui.trackers import notebook

OPTIONS = set_options(*TINY[:-1], "block_layers=[1,1]", *TINY_TRAINING)
GRID = ["--set", "hard_ratio=0.3,0.5", "-m", "loss", "--name", "hr", *OPTIONS]
STARTUP = """
import sys
from tests.eetui.trackers import notebook
sys.modules["eetui.trackers.to_tensorboard"] = notebook
"""


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the tests' tracker as TensorBoard's; return a folder."""
    monkeypatch.setitem(sys.modules, "eetui.trackers.to_tensorboard", notebook)
    return tmp_path / "logs"


@pytest.fixture
def made(tmp_path: Path, text: Path) -> str:
    """Make a sweep of two runs that wait."""
    db = str(tmp_path / "runs.db")
    result = CliRunner().invoke(app, ["--db", db, "sweep", *GRID, "--corpus", str(text), "--print"])
    assert result.exit_code == 0, result.exception
    return db


def told(logs: Path) -> dict[str, list[str]]:
    """Return the notes on each run, by its number."""
    return {path.stem: path.read_text().splitlines() for path in logs.glob("*.txt")}


COMMANDS = {
    "resume": ["sweep", "resume", "hr"],
    "work": ["work", "--idle", "0"],
    "run": ["work", "--run", "1"],
    "add-seeds": ["sweep", "add-seeds", "hr", "1"],
    "ablate": ["ablate"],
    "new": ["sweep", "--set", "lr=0.1,0.2"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_tracker_that_can_not_be_is_told_before_anything_is_stored(
    command: list[str], made: str, eetui: Eetui, tmp_path: Path
) -> None:
    before = stored(made)
    settings = tmp_path / "config.toml"
    settings.write_text('mirror = ["board:logs"]')
    for words, changes in (
        (["--mirror", "board:logs"], {}),
        ([], {"EETUI_CONFIG": str(settings)}),
    ):
        done = eetui(*command, *words, EETUI_DB=made, **changes)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "there is no tracker 'board': take one of tensorboard, mlflow, wandb, trackio" in done.stderr
        assert stored(made) == before


def stored(db: str) -> list[tuple[int, str]]:
    with Reader(Path(db)) as reader:
        return [(row["id"], row["status"]) for row in reader.runs()]


def test_a_tracker_that_is_not_installed_is_told_with_its_extra(made: str, eetui: Eetui, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('none here')")
    path = f"{tmp_path}:{Path(__file__).parents[3]}"
    done = eetui("work", "--mirror", "wandb:logs", EETUI_DB=made, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "eetui: wandb is not installed (none here): pip install 'eetui[wandb]'\n"


def test_a_mirror_before_a_command_of_sweeps_is_no_mirror_of_it(made: str, eetui: Eetui) -> None:
    done = eetui("sweep", "--mirror", "tensorboard:logs", "resume", "hr", EETUI_DB=made)
    assert done.returncode == 2
    assert done.stderr.startswith("eetui: --mirror before resume would be of a new sweep: write it after resume")


def test_a_sweep_tells_trackers_of_its_runs_and_so_do_its_printed_commands(
    logs: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, db = CliRunner().invoke, str(tmp_path / "it's.db")
    words = ["--db", db, "sweep", *GRID, "--corpus", str(text), "--mirror", "tensorboard:logs"]
    printed = run(app, [*words, "--print"])
    first, second = (shlex.split(line)[1:] for line in printed.stdout.splitlines())
    assert first == ["work", "--run", "1", "--db", db, "--mirror", f"tensorboard:{logs}"]
    monkeypatch.chdir("/")
    assert run(app, second).exit_code == 0
    assert list(told(logs)) == ["2"]
    done = run(app, ["sweep", "add-seeds", "hr", "1", "--db", db, "--mirror", f"tensorboard:{logs}"])
    assert done.exit_code == 0, done.output
    notes = told(logs)
    assert sorted(notes) == ["1", "2", "3", "4"]
    assert {lines[-1] for lines in notes.values()} == {"end finished"}
    assert notes["3"][0].split()[1] == "hr-0-s43"
    assert len([line for line in notes["3"] if line.startswith("block0.lm/val_loss")]) == 2, "two epochs"


def test_the_settings_mirror_holds_for_a_worker(logs: Path, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = logs.parent / "config.toml"
    settings.write_text(f'mirror = ["tensorboard:{logs}"]')
    monkeypatch.setenv("EETUI_CONFIG", str(settings))
    assert CliRunner().invoke(app, ["work", "--sweep", "hr", "--idle", "0", "--db", made]).exit_code == 0
    assert sorted(told(logs)) == ["1", "2"]


def test_a_run_that_was_interrupted_is_told_anew_by_the_worker_that_goes_on(
    logs: Path, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopsLater(working.Stop):
        asked = 0

        def __call__(self) -> bool:
            self.asked += 1
            self.code = 130 if self.asked > 40 else 0
            return self.code > 0

    stop = StopsLater()
    monkeypatch.setattr("eetui.cli.headless.Stop", lambda: stop)
    words = ["work", "--sweep", "hr", "--idle", "0", "--db", made, "--mirror", f"tensorboard:{logs}"]
    assert CliRunner().invoke(app, words).exit_code == 130
    (interrupted,) = told(logs).values()
    assert interrupted[-1] == "end interrupted"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "eetui.trackers.to_tensorboard", notebook)
    assert CliRunner().invoke(app, words).exit_code == 0
    whole = told(logs)["1"]
    assert [line.split()[0] for line in whole].count("start") == 1
    assert whole[-1] == "end finished"
    assert len(whole) == len(set(whole)) == len(told(logs)["2"])
    assert set(interrupted) - set(whole) == {"end interrupted"}


def test_a_search_tells_trackers_of_its_trials(logs: Path, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    db = tmp_path / "runs.db"
    search = ["--search", "random", "--trials", "2", "--set", "hard_ratio=0.2..0.8", "-m", "loss", "--name", "found"]
    words = ["--db", str(db), "sweep", *search, "--corpus", str(text), *OPTIONS, "--mirror", f"tensorboard:{logs}"]
    assert CliRunner().invoke(app, words).exit_code == 0
    with Reader(db) as reader:
        names = {str(cell["id"]): cell["name"] for cell in cells_of(reader, 1)}
    assert {number: notes[0].split()[1] for number, notes in told(logs).items()} == names
    assert len(names) == 2


@pytest.mark.soak
def test_workers_in_processes_write_into_one_folder_and_a_killed_one_s_run_is_told_anew(
    environment: dict[str, str], tmp_path: Path, text: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STARTUP)
    path = f"{tmp_path}:{Path(__file__).parents[3]}"
    logs, db = tmp_path / "logs", str(tmp_path / "runs.db")
    words = ["sweep", *GRID, "--seeds", "2", "--jobs", "2", "--set", "max_epochs=30", "--corpus", str(text), "--db", db]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "eetui", *words, "--mirror", "tensorboard:logs"], cwd=tmp_path, text=True,
        env=environment | {"PYTHONPATH": path}, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (begun := [lines[0] for lines in told(logs).values() if len(lines) > 2]):
        assert sweep.poll() is None
    killed = begun[0].split()
    os.kill(int(killed[2]), signal.SIGKILL)
    said = sweep.communicate(timeout=300)[1]
    assert sweep.returncode == 0, said
    assert "a worker died" in said
    notes = told(logs)
    assert sorted(notes) == ["1", "2", "3", "4"]
    assert all([line.split()[0] for line in lines].count("start") == 1 for lines in notes.values())
    assert {lines[-1] for lines in notes.values()} == {"end finished"}
    again = next(lines[0].split() for lines in notes.values() if lines[0].split()[1] == killed[1])
    assert again[2] != killed[2]
    assert len({lines[0].split()[2] for lines in notes.values()}) > 1
    shown = CliRunner().invoke(app, ["ls", "--json", "sweep:hr", "--db", db])
    assert {row["status"] for row in json.loads(shown.output)} == {"finished"}
