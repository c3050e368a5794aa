"""`eetui sweep`, `queue` and `work`, in processes as a user has them."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.events import RunInterrupted
from core.store import liveness
from core.store.queue import take
from core.store.reader import Reader
from core.store.stored_sweeps import held
from core.store.writer import Writer
from eetui.cli.main import app
from eetui.cli.on_cluster import with_ray_address
from tests.commands import commands_of, understood
from tests.conftest import TINY, TINY_TRAINING, set_options

OPTIONS = set_options(*TINY[:-1], "block_layers=[1,1]", *TINY_TRAINING)

WORKER = """
from core.evaluation import timing
from core.machine import device
timing.SECONDS = device.PEAK_SECONDS = 0.0
from eetui.__main__ import main
main()
"""


def said(error: BaseException | None) -> str:
    return str(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "hard_ratio=0.5"], "there is nothing to vary"),
        (["--set", "hard_ratoi=0.3,0.5"], "unknown config key 'hard_ratoi'"),
        (["--set", "hard_ratio=0.7..0.3:0.1"], "is empty"),
        (["--set", "hard_ratio=0.3,0.5", "--trials", "3"], "add --search tpe"),
        (["--set", "hard_ratio=0.2..0.8", "--search", "tpe", "--trials", "3", "--print"], "those of a search"),
        (["--set", "hard_ratio=0.2..0.8", "--search", "tpe", "--trials", "3", "--constraint", "joy>=1"], "no metric"),
        (["--set", "lr=1e-9..1:1e-9"], "1,000,000,000 runs"),
        (["--set", "hard_ratio=0.3,0.5", "--name", "x" * 10**6], f"got '{'x' * 200}…'"),
        (["-m", "gain", "--jobs", "4", "resume", "1"], "--method, --corpus, --jobs before resume would be of a new"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_starts(
    words: list[str], message: str, tmp_path: Path, text: Path
) -> None:
    db = tmp_path / "runs.db"
    result = CliRunner().invoke(app, ["--db", str(db), "sweep", "--corpus", str(text), *words])
    assert message in said(result.exception)
    assert not db.exists()


def test_a_plan_stores_nothing(tmp_path: Path, text: Path) -> None:
    db = tmp_path / "runs.db"
    words = ["sweep", "-m", "loss", "-m", "softmax", "--set", "hard_ratio=0.3,0.5", "--seeds", "2", "--dry-run"]
    result = CliRunner().invoke(app, ["--db", str(db), *words, "--corpus", str(text), *OPTIONS])
    assert result.exit_code == 0, result.exception
    assert "runs      8 (4 combinations × 2 seeds)" in result.output
    assert "to train  12 stages (10 lm, 2 exit classifier)" in result.output
    assert "reused    8 stages (6 lm, 2 exit classifier)" in result.output
    assert not db.exists()


def test_what_one_run_has_is_said_not_to_need_more(tmp_path: Path, text: Path) -> None:
    words = ["sweep", "-m", "gain", "--set", "price=0.01,0.1", "--set", "policy=price", "--set", "protocol=joint"]
    result = CliRunner().invoke(
        app, ["--db", str(tmp_path / "x"), *words, "--dry-run", "--corpus", str(text), *OPTIONS]
    )
    assert "exit.price changes nothing that is trained" in result.output, result.exception


@pytest.mark.soak
def test_runs_are_printed_for_elsewhere_and_the_rest_goes_on_in_processes(tmp_path: Path, text: Path) -> None:
    db, run = str(tmp_path / "runs.db"), CliRunner().invoke
    words = ["sweep", "--set", "hard_ratio=0.3,0.5,0.7", "-m", "loss", "--name", "hr", "--print"]
    made = run(app, ["--db", db, *words, "--corpus", str(text), *OPTIONS])
    _, second, _ = (shlex.split(line)[1:] for line in made.stdout.splitlines())
    assert run(app, second).exit_code == 0
    listed = json.loads(run(app, ["ls", "--json", "sweep:hr", "--db", db]).stdout)
    assert [one["status"] for one in listed] == ["queued", "finished", "queued"]
    done = run(app, ["sweep", "resume", "hr", "--jobs", "2", "--db", db])
    assert done.exit_code == 0, done.output
    assert "hr: 3 finished" in done.output
    assert "has come to its end" in run(app, second).output
    shown = json.loads(run(app, ["sweep", "show", "hr", "--json", "--db", db]).stdout)
    assert [one["setting"]["exit.hard_ratio"] for one in shown["runs"]] == [0.3, 0.5, 0.7]


@pytest.mark.soak
def test_a_worker_takes_from_the_queue_until_it_is_told_to_stop(
    environment: dict[str, str], tmp_path: Path, text: Path
) -> None:
    db, run = str(tmp_path / "runs.db"), CliRunner().invoke
    words = ["queue", "add", "-m", "loss", "-m", "softmax", "-m", "margin", "--corpus", str(text), *OPTIONS]
    assert "queued runs 1 2 3" in run(app, ["--db", db, *words]).output
    run(app, ["queue", "move", "3", "1", "--db", db])
    run(app, ["queue", "drop", "2", "--db", db])
    assert [row["id"] for row in json.loads(run(app, ["queue", "list", "--json", "--db", db]).output)] == [3, 1]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, "work", "--db", db], stderr=subprocess.PIPE, text=True,
        env=environment | {"PYTHONPATH": os.fspath(Path(__file__).parents[3])},
    )  # fmt: skip
    assert worker.stderr is not None
    lines = [next(line for line in worker.stderr if "finished in" in line) for _ in range(2)]
    assert [line.split()[0] for line in lines] == ["margin-3", "loss-1"]
    worker.send_signal(signal.SIGTERM)
    worker.communicate()
    assert worker.returncode == 143
    assert json.loads(run(app, ["queue", "list", "--json", "--db", db]).output) == []


def test_a_sweep_waits_for_who_trains_its_runs_and_ends_with_the_codes_of_run(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, run = tmp_path / "runs.db", CliRunner().invoke
    words = ["sweep", "-m", "loss", "--set", "lr=0.01,1e37", "--seeds", "1", "--print", "--corpus", str(text)]
    assert run(app, ["--db", str(db), *words, *OPTIONS]).exit_code == 0
    with subprocess.Popen(["sleep", "100"]) as other, Writer(db) as store:
        run_held = take(store, 1, lambda key: False)
        assert run_held is not None
        holder = dict(zip(("pid", "host", "process"), liveness._own(other.pid), strict=True))
        with store.transaction() as connection:
            connection.execute("UPDATE runs SET pid = :pid, process = :process WHERE id = 1", holder)

        def look(reader: Reader, sweep: int) -> list[dict[str, Any]]:
            found = held(reader, sweep)
            other.kill()
            other.wait()
            return found

        monkeypatch.setattr("core.store.stored_sweeps.held", look)
        done = run(app, ["sweep", "resume", "sweep-1", "--db", str(db)])
    assert f"waits for sweep-1-0-s42 (run 1), which process {other.pid} on" in done.output
    assert "sweep-1: 1 finished, 1 failed" in done.output
    assert done.exit_code == 3
    again = run(app, ["sweep", "resume", "sweep-1", "--db", str(db)])
    assert (again.exit_code, again.output.count("finished in")) == (3, 0)


def test_a_sweep_is_cancelled_and_deleted_with_its_runs(tmp_path: Path, text: Path) -> None:
    db, run = str(tmp_path / "runs.db"), CliRunner().invoke
    words = ["sweep", "--set", "hard_ratio=0.3,0.5", "-m", "loss", "--print", "--corpus", str(text), *OPTIONS]
    assert run(app, ["--db", db, *words]).exit_code == 0
    with Writer(Path(db)) as store:
        take(store, 1, lambda key: False)
        refused = run(app, ["sweep", "delete", "sweep-1", "--yes", "--db", db])
        assert "sweep-1-0-s42 of sweep-1 are in training" in said(refused.exception)
        assert "sweep-1  2 queued" in run(app, ["sweep", "list", "--db", db]).output
        mistyped = run(app, ["sweep", "show", "swep-1", "--db", db])
        assert said(mistyped.exception).endswith("eetui sweep list shows them; did you mean sweep-1?")
        store.end(1, RunInterrupted("stopped", 0.0))
    assert run(app, ["sweep", "cancel", "sweep-1", "--db", db]).exit_code == 0
    assert "2 interrupted" in run(app, ["sweep", "list", "--db", db]).output
    assert run(app, ["sweep", "delete", "sweep-1", "--yes", "--db", db]).exit_code == 0
    assert run(app, ["sweep", "list", "--db", db]).output == "no sweeps\n"
    assert "there is no sweep" in said(run(app, ["sweep", "show", "sweep-1", "--db", db]).exception)
    assert len(json.loads(run(app, ["ls", "--deleted", "--json", "--db", db]).output)) == 2


def test_a_sweep_without_a_name_gets_one_that_is_free(tmp_path: Path, text: Path) -> None:
    db, run = str(tmp_path / "runs.db"), CliRunner().invoke
    words = ["sweep", "--set", "hard_ratio=0.3,0.5", "-m", "loss", "--print", "--corpus", str(text), *OPTIONS]
    assert run(app, ["--db", db, *words, "--name", "sweep-2"]).exit_code == 0
    assert run(app, ["--db", db, *words]).exit_code == 0
    assert "sweep-3" in run(app, ["sweep", "list", "--db", db]).output


def test_every_command_of_the_page_is_understood() -> None:
    commands = commands_of("sweeps.md")
    assert len(commands) > 20
    for words in commands:
        understood(words)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (["--ray", "somewhere"], "needs the address HOST:PORT"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster can be reached at 127.0.0.1:1 (Connection refused)"),
        (["--ray", "--print"], "leave one out"),
    ],
)
def test_a_cluster_that_can_not_be_reached_leaves_nothing_behind(
    address: list[str], message: str, tmp_path: Path, text: Path
) -> None:
    pytest.importorskip("ray")
    db = tmp_path / "runs.db"
    words = ["sweep", "--set", "hard_ratio=0.3,0.5", "-m", "loss", *address, "--corpus", str(text), *OPTIONS]
    result = CliRunner().invoke(app, ["--db", str(db), *words])
    assert message in said(result.exception)
    assert not db.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--no-ui", "--workers", "2"], "--workers is for --ray"),
        (["run", "--no-ui", "--ray", "somewhere", "--workers", "2"], "needs the address HOST:PORT"),
    ],
)
def test_workers_are_those_of_a_cluster(words: list[str], message: str, tmp_path: Path, text: Path) -> None:
    pytest.importorskip("ray")
    result = CliRunner().invoke(app, ["--db", str(tmp_path / "runs.db"), *words, "--corpus", str(text), *OPTIONS])
    assert message in said(result.exception)
    assert not (tmp_path / "runs.db").exists()


def test_ray_takes_an_address_or_none() -> None:
    assert with_ray_address(["--ray", "-m", "loss"]) == ["--ray=local", "-m", "loss"]
    assert with_ray_address(["resume", "rates", "--ray"]) == ["resume", "rates", "--ray=local"]
    assert with_ray_address(["run", "--ray", "--workers", "2"]) == ["run", "--ray=local", "--workers", "2"]
    assert with_ray_address(["--ray", "10.0.0.1:6379"]) == ["--ray", "10.0.0.1:6379"]
