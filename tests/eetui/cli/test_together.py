"""One run on several processes, started by torchrun as the docs say."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import UsageError
from core.events import Epoch, Step
from core.store.reader import Reader
from eetui.cli import streams
from tests.conftest import TINY, Eetui, set_options

ROOT = Path(__file__).parents[3]
ENDLESS = set_options(*TINY, "max_epochs=1000000", "patience=1000000", "machine.threads=1")
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")


def started(environment: dict[str, str], folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    return subprocess.Popen(
        [*torchrun, "-m", "eetui", *arguments],
        env=environment | {"PYTHONPATH": str(ROOT), "EETUI_DB": str(folder / "runs.db")},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


def follower_of(torchrun: int) -> int:
    """Return the process that is not the first."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found = parent == torchrun and b"\0RANK=1\0" in (folder / "environ").read_bytes()
        except OSError:
            continue
        if found:
            return int(folder.name)
    raise AssertionError("torchrun has no second process")


def last_epoch(database: Path) -> int:
    if not database.exists():
        return 0
    with Reader(database) as reader:
        events, _ = reader.events(1, steps=False) if reader.count() else ([], 0)
    return max((event.epoch for event in events if isinstance(event, Epoch)), default=0)


@pytest.mark.soak
def test_a_run_whose_second_process_is_killed_ends_and_is_resumed_with_every_event_once(
    environment: dict[str, str], tmp_path: Path, text: Path
) -> None:
    training = started(environment, tmp_path, "run", "--no-ui", "--corpus", str(text), "-m", "loss", *ENDLESS)
    until = time.monotonic() + 80
    while last_epoch(tmp_path / "runs.db") < 2:
        assert training.poll() is None, training.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(follower_of(training.pid), signal.SIGKILL)
    _, said = training.communicate(timeout=60)
    assert training.returncode == 1
    with Reader(tmp_path / "runs.db") as reader:
        assert reader.run(1)["status"] in ("failed", "interrupted")
        assert reader.run(1)["record"]["processes"] == 2
        events, _ = reader.events(1)
    steps = [(event.epoch, event.step) for event in events if isinstance(event, Step)]
    assert "eetui resume" in said
    assert said.count("epoch 1/") == 1
    assert len(set(steps)) == len(steps) > 2
    done = max(event.epoch for event in events if isinstance(event, Epoch))
    resumed = started(environment, tmp_path, "resume", "--no-ui", "1")
    while resumed.poll() is None and last_epoch(tmp_path / "runs.db") <= done + 1:
        time.sleep(0.05)
    resumed.send_signal(signal.SIGTERM)
    _, said = resumed.communicate(timeout=60)
    assert "stopped by the user" in said, said


def test_the_first_process_says_what_is_wrong_at_once_and_another_that_it_is_its_own(
    eetui: Eetui, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = eetui("run", "--no-ui", "--set", "lr=-1", WORLD_SIZE="2", RANK="0")
    assert (done.returncode, done.stderr.count("train.lr must be > 0")) == (2, 1)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    waited: list[float] = []
    monkeypatch.setattr(streams.time, "sleep", waited.append)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # which are given back
    with pytest.raises(SystemExit), streams.lasting():
        raise UsageError("no good")
    assert waited == [streams.FOLLOWER_SECONDS]
    assert capsys.readouterr().err == "eetui: process 1: no good\n"


@pytest.mark.soak
def test_a_bad_request_has_one_message_and_no_console(environment: dict[str, str], tmp_path: Path) -> None:
    done = started(environment, tmp_path, "run", "--no-ui", "--set", "lr=-1")
    _, said = done.communicate(timeout=60)
    assert done.returncode != 0
    assert said.count("train.lr must be > 0") == 1
