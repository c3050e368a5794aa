"""One trainer a run, held by the system and not by the database."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import LostRunError, StoreError
from core.store import lock
from core.store.files import delete_checkpoint, lock_file
from core.store.lock import trainer_of, training_alone
from core.store.new_runs import NewRun
from core.store.rows import update_run
from core.store.writer import Writer

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from core.store.lock import training_alone
with training_alone(Path(sys.argv[1]), 1):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.05)
    return tmp_path / "runs.db"


def test_a_run_is_locked_once_and_another_run_is_another_lock(path: Path) -> None:
    with training_alone(path, 1), training_alone(path, 2):
        with pytest.raises(LostRunError, match=f"run 1 is in training already, by process {os.getpid()} on "):
            training_alone(path, 1).__enter__()
        assert (trainer_of(path, 1) or "").startswith(f"process {os.getpid()} on ")
    for run in (1, 2):
        assert trainer_of(path, run) is None
        with training_alone(path, run):
            pass
    assert list(path.parent.iterdir()) == []


def test_a_symlink_leads_to_the_same_lock(path: Path) -> None:
    path.touch()
    link = path.with_name("link.db")
    link.symlink_to(path)
    with training_alone(path, 1), pytest.raises(LostRunError):
        training_alone(link, 1).__enter__()


def test_a_process_that_is_killed_holds_nothing_any_more(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert (trainer_of(path, 1) or "").startswith(f"process {holder.pid} on ")
    with pytest.raises(LostRunError, match=f"process {holder.pid} on "):
        training_alone(path, 1).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert trainer_of(path, 1) is None
    with training_alone(path, 1):
        assert lock_file(path, 1).exists()
    assert not lock_file(path, 1).exists()


def test_who_only_looks_keeps_nobody_from_training(path: Path) -> None:
    import threading

    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            trainer_of(path, 1)
            time.sleep(0.001)  # two that never rest would hold the lock between them

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            with training_alone(path, 1):
                pass
    finally:
        over.set()
        for looker in lookers:
            looker.join()


def test_where_nothing_can_be_written_the_database_alone_decides(path: Path) -> None:
    lock_file(path, 1).parent.write_text("a file where the folder should be")
    with training_alone(path, 1):
        assert trainer_of(path, 1) is None
    with training_alone(path.parent / "gone" / "runs.db", 1):
        assert not (path.parent / "gone").exists()


def test_where_the_file_system_knows_no_locks_the_database_alone_decides(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with training_alone(path, 1):
        assert trainer_of(path, 1) is None


def test_deleting_a_checkpoint_leaves_no_lock_behind(path: Path) -> None:
    lock_file(path, 1).parent.mkdir()
    lock_file(path, 1).write_text("process 1 on elsewhere")  # of a process that was killed
    delete_checkpoint(path, 1)
    assert list(path.parent.iterdir()) == []


def test_a_run_in_training_is_not_resumed_whatever_the_database_says(path: Path) -> None:
    with Writer(path) as writer:
        writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
        update_run(writer._connection, 1, {"status": "interrupted"})
        with training_alone(path, 1), pytest.raises(StoreError, match="is training it; stop it there first"):
            writer.requeue([1])
        writer.requeue([1])


def test_a_lock_is_taken_though_its_folder_is_removed_beside_another_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, file = os.open, lock_file(path, 1)

    def removed_once(name: Path, flags: int, mode: int = 0o777) -> int:
        monkeypatch.setattr(os, "open", opened)
        file.parent.rmdir()
        return opened(name, flags, mode)

    monkeypatch.setattr(os, "open", removed_once)
    with training_alone(path, 1):
        assert trainer_of(path, 1) is not None
