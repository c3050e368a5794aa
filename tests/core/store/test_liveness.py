"""Who holds a run: certain where it can be looked up, by heartbeat from anywhere else, and with nothing written."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import LostRunError, StoreError
from core.events import Event, PlannedStage, RunInterrupted, RunStarted, Step
from core.state import RunState, reduce_all
from core.store import liveness
from core.store.liveness import GONE, SILENT_SECONDS, Liveness, this_process
from core.store.new_runs import NewRun
from core.store.reader import Query, Reader
from core.store.writer import Writer

ROOT = Path(__file__).parents[3]
NEW = NewRun(None, "loss", 1, None, "{}", {})
STARTED: Event = RunStarted((PlannedStage("block0.lm", "lm", 0, True),), 100, 20, 30, (1, 1), 999)
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")


def set_columns(path: Path, run: int = 1, **values: object) -> None:
    connection = sqlite3.connect(path)
    for name, value in values.items():
        connection.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", [value, run])
    connection.commit()
    connection.close()


def seen(path: Path) -> list[tuple[str, str | None]]:
    """Status and error of all runs, as a reader without a writer sees them; the file stays as it is."""
    before = path.read_bytes()
    with Reader(path) as reader:
        found = [(row["status"], row["error"]) for row in reader.runs()]
        assert [row["id"] for row in reader.live()] == [
            row["id"] for row in reader.runs() if row["status"] in ("queued", "running")
        ]
    assert path.read_bytes() == before
    return found


@pytest.fixture
def running(path: Path) -> Path:
    """A database with one run that is running, in this process's name."""
    with Writer(path) as writer:
        writer.create_experiment([NEW])
        writer.append(1, [STARTED], RunState("running"))
    return path


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]) as process:
        yield process
        process.kill()


def identity(pid: int) -> str:
    return liveness._identity(pid)


ALIVE, DEAD = [("running", None)], [("interrupted", GONE)]


@linux
def test_a_process_that_lives_holds_its_run_however_long_it_was_silent(
    running: Path, other: subprocess.Popen[str]
) -> None:
    set_columns(running, pid=other.pid, process=identity(other.pid), heartbeat=1.0)
    assert seen(running) == ALIVE


@linux
@pytest.mark.parametrize("waited_for", [True, False], ids=["waited for", "a zombie"])
def test_a_process_that_is_dead_holds_nothing_however_fresh_its_heartbeat(
    waited_for: bool, running: Path, other: subprocess.Popen[str]
) -> None:
    set_columns(running, pid=other.pid, process=identity(other.pid), heartbeat=time.time())
    assert seen(running) == ALIVE
    other.kill()
    if waited_for:
        other.wait()
    else:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert seen(running) == DEAD


@linux
def test_a_pid_that_was_given_again_is_another_process(running: Path, other: subprocess.Popen[str]) -> None:
    set_columns(running, pid=other.pid, process=this_process()["process"], heartbeat=time.time())
    assert seen(running) == DEAD


@linux
@pytest.mark.parametrize("place", ["another boot", "another namespace"])
@pytest.mark.parametrize("pid", ["this one's", "none"])
def test_from_elsewhere_the_heartbeat_decides(place: str, pid: str, running: Path) -> None:
    boot, namespace, started = this_process()["process"].split()
    process = f"other {namespace} {started}" if place == "another boot" else f"{boot} pid:[1] {started}"
    set_columns(running, process=process, pid=os.getpid() if pid == "this one's" else 2**22 + 1)
    set_columns(running, heartbeat=time.time() - SILENT_SECONDS / 2)
    assert seen(running) == ALIVE
    set_columns(running, heartbeat=time.time() - SILENT_SECONDS - 1)
    assert seen(running) == DEAD


@pytest.mark.parametrize("ahead", [10.0, 86_400.0])
def test_a_heartbeat_of_the_future_is_of_a_clock_that_was_wrong(ahead: float, running: Path) -> None:
    set_columns(running, host="elsewhere", process="other pid:[1] 1", heartbeat=time.time() + ahead)
    assert seen(running) == (ALIVE if ahead < SILENT_SECONDS else DEAD)


def test_a_hostname_that_changed_is_no_other_machine(running: Path) -> None:
    set_columns(running, host="renamed", heartbeat=1.0)
    assert seen(running) == ALIVE


def test_where_pids_have_no_identity_a_missing_one_is_dead_and_any_other_goes_by_its_heartbeat(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_own", lambda pid: (pid, socket.gethostname(), "- - -"))
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    set_columns(running, process="- - -", heartbeat=time.time())
    assert seen(running) == ALIVE
    set_columns(running, heartbeat=time.time() - SILENT_SECONDS - 1)
    assert seen(running) == DEAD
    set_columns(running, pid=2**22 + 1, heartbeat=time.time())
    assert seen(running) == DEAD


@linux
def test_a_row_of_an_earlier_version_goes_by_pid_and_start(running: Path, other: subprocess.Popen[str]) -> None:
    set_columns(running, process=None, heartbeat=time.time())
    assert seen(running) == ALIVE
    set_columns(running, pid=other.pid, heartbeat=time.time() - 60)  # it began since
    assert seen(running) == DEAD
    set_columns(running, pid=2**22 + 1, heartbeat=time.time())
    assert seen(running) == DEAD
    set_columns(running, host="elsewhere", pid=1)
    assert seen(running) == ALIVE
    set_columns(running, heartbeat=time.time() - 7200)
    assert seen(running) == DEAD


@pytest.mark.parametrize("process", ["", "nonsense", "a b c d", " "])
@pytest.mark.parametrize("pid", [-1, 0, 2**80, None])
def test_nonsense_in_a_row_is_judged_like_a_stranger(process: str, pid: int | None) -> None:
    assert Liveness().is_gone(pid, "elsewhere", process, 1.0)


def test_one_look_serves_all_runs_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(liveness, "_lives", lambda *owner: looks.append(owner))
    judge = Liveness()
    for run in range(100):
        judge.is_gone(1, "here", "b n s", float(run))
    assert len(looks) == 1


def test_whatever_is_asked_of_a_reader_it_sees_that_the_process_is_gone(
    running: Path, other: subprocess.Popen[str]
) -> None:
    with Reader(running) as reader:
        version = reader.version()
        set_columns(running, pid=2**22 + 1)
        assert reader.version() != version
        assert reader.gone() == (1,)
        assert reader.live() == []
        row = reader.run(1)
        assert (row["status"], row["error"]) == ("interrupted", GONE)
        state = reader.state(1)
        assert (state.status, state.error) == ("interrupted", GONE)
        assert reader.count(Query("status = 'running'")) == 0
        assert reader.count(Query("status = 'interrupted'")) == 1


def test_a_version_changes_when_a_process_goes_though_nothing_is_written(
    running: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.0)
    set_columns(running, pid=other.pid, process=identity(other.pid))
    with Reader(running) as reader:
        version = reader.version()
        assert reader.version() == version
        other.kill()
        other.wait()
        assert reader.version() != version


def test_a_writer_writes_what_readers_see(running: Path) -> None:
    set_columns(running, pid=2**22 + 1)
    with Writer(running), Reader(running) as reader:
        assert reader.gone() == ()
        row = reader.run(1)
        assert (row["status"], row["error"]) == ("interrupted", GONE)
        assert reader.events(1)[0] == [STARTED, RunInterrupted(GONE, 0.0)]


def steps(first: int, count: int = 2) -> list[Event]:
    return [Step("block0.lm", 1, number, 1.0, 4, 0.1) for number in range(first, first + count)]


def test_a_run_that_was_taken_for_abandoned_is_taken_back(running: Path) -> None:
    """Such as after a laptop slept, and another machine on the same database took it for dead."""
    with Writer(running) as writer, Reader(running) as reader:
        writer.append(1, steps(1), RunState("running"))
        set_columns(running, status="running", pid=2**22 + 1)
        Writer(running).__exit__()
        assert reader.run(1)["status"] == "interrupted"
        set_columns(running, pid=os.getpid())
        more = steps(3)
        writer.append(1, more, RunState("running"))
        assert reader.run(1)["status"] == "running"
        assert reader.events(1)[0] == [STARTED, *steps(1), *more]


def test_a_run_that_another_process_resumed_is_not_written_any_more(running: Path) -> None:
    with Writer(running) as writer, Reader(running) as reader:
        set_columns(running, pid=77, host="elsewhere")
        for write in (lambda: writer.append(1, steps(1), RunState("running")), lambda: writer.claim(1)):
            with pytest.raises(LostRunError, match="was resumed by process 77 on elsewhere"):
                write()
        assert reader.events(1)[0] == [STARTED]


def test_a_run_that_was_deleted_is_not_written_any_more(running: Path) -> None:
    with Writer(running) as writer:
        writer.delete(1)
        with pytest.raises(LostRunError, match="run 1 was deleted"):
            writer.append(1, steps(1), reduce_all(RunState(), [STARTED]))


NAMESPACE = """
import sys, time
from pathlib import Path
from core.session.heartbeat import beating
from core.store.new_runs import NewRun
from core.store.writer import Writer
import core.session.heartbeat as heartbeat
heartbeat.BEAT_SECONDS = 0.05
with Writer(Path(sys.argv[1])) as writer:
    writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
    with beating(writer, lambda: [1]):
        print("beats", flush=True)
        time.sleep(600)
"""


@linux
@pytest.mark.soak
def test_a_run_in_another_pid_namespace_lives_while_its_heart_beats_and_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = shutil.which("unshare")
    command = [unshare or "", "--pid", "--fork", "--kill-child", "--map-root-user", "--user"]
    if not unshare or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces can be made here")
    monkeypatch.setattr(liveness, "SILENT_SECONDS", 3.0)
    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.0)
    process = subprocess.Popen(
        [*command, sys.executable, "-c", NAMESPACE, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "beats\n"
        for _ in range(40):
            with Reader(path) as reader:
                assert reader.run(1)["status"] == "queued"
            time.sleep(0.1)
        Writer(path).__exit__()
        with Reader(path) as reader:
            assert reader.run(1)["status"] == "queued"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    give_up = time.monotonic() + 30
    with Reader(path) as reader:
        while reader.run(1)["status"] != "interrupted":
            assert time.monotonic() < give_up
            time.sleep(0.1)


def test_only_who_finds_a_run_interrupted_may_resume_it(running: Path) -> None:
    set_columns(running, status="interrupted")
    with Writer(running) as first, Writer(running) as second:
        first.requeue([1])
        with pytest.raises(StoreError, match="another process resumed or deleted it meanwhile"):
            second.requeue([1])
