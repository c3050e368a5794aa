"""`eetui rm` and `restore`: exactly the runs that were named, and back again."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from core.store.files import checkpoint_folder
from core.store.reader import Reader
from core.store.writer import Writer
from tests.conftest import Eetui
from tests.scripted_runs import make_database

COMMANDS = {
    "show": (), "compare": (), "rm": ("--yes",), "restore": (), "resume": ("--no-ui",), "quality": (), "diagnose": (),
    "calibrate": (), "generate": ("--prompt", "a"),
}  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Six runs; the queued one has ended."""
    path = make_database(tmp_path / "runs.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE runs SET status = 'failed' WHERE status = 'queued'")
    connection.close()
    return str(path)


def names(eetui: Eetui, db: str, *more: str) -> list[str]:
    return [row["name"] for row in json.loads(eetui("ls", "--json", *more, EETUI_DB=db).stdout)]


ALL = ["loss-1", "distill-2", "softmax-3", "loss-4", "stopped-early", "correct-6"]


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_blank_reference_is_refused_by_every_command_though_there_is_one_run_only(
    command: str, eetui: Eetui, db: str
) -> None:
    with Writer(Path(db)) as writer:
        writer.discard([2, 3, 4, 5, 6])
    for blank in ("", " "):
        refused(eetui(command, *COMMANDS[command], blank, EETUI_DB=db), "named by its number or its name")
    assert names(eetui, db) == ["loss-1"]


def test_a_blank_reference_among_others_or_as_a_baseline_is_refused_too(eetui: Eetui, db: str) -> None:
    for arguments in (("rm", "--yes", "1", ""), ("compare", "1", ""), ("compare", "1", "--baseline", "")):
        refused(eetui(*arguments, EETUI_DB=db), "named by its number or its name")
    assert names(eetui, db) == ALL


def test_rm_takes_numbers_and_whole_names_and_restore_brings_them_back(eetui: Eetui, db: str) -> None:
    weights = checkpoint_folder(Path(db), 3)
    weights.mkdir(parents=True)
    done = eetui("rm", "softmax-3", "1", "1", "--yes", EETUI_DB=db)
    assert done.returncode == 0, done.stderr
    assert "deleted softmax-3 (run 3), loss-1 (run 1) (for 30 days, eetui restore 3 1 brings back" in done.stderr
    assert names(eetui, db) == [name for name in ALL if name not in ("softmax-3", "loss-1")]
    assert names(eetui, db, "--deleted") == ["loss-1", "softmax-3"]
    assert names(eetui, db, "--deleted", "method:loss") == ["loss-1"]
    shown = eetui("ls", "--deleted", EETUI_DB=db).stdout
    assert "Deleted" in shown.splitlines()[0]
    refused(eetui("show", "softmax-3", EETUI_DB=db), "was deleted: eetui restore 3 brings it back")
    assert weights.is_dir()
    done = eetui("restore", "softmax-3", "1", EETUI_DB=db)
    assert (done.returncode, done.stderr) == (0, "restored softmax-3 (run 3), loss-1 (run 1)\n")
    assert names(eetui, db) == ALL
    assert names(eetui, db, "--deleted") == []


@pytest.mark.parametrize("reference", ["softmax", "l", "loss-", "stopped-earl", "0", "-0"])
def test_rm_deletes_nothing_by_a_prefix(reference: str, eetui: Eetui, db: str) -> None:
    done = eetui("rm", "--yes", "--", reference, EETUI_DB=db)
    refused(done, "there is no run")
    assert names(eetui, db) == ALL


def test_rm_for_good_makes_room_at_once_also_of_what_was_deleted_before(eetui: Eetui, db: str) -> None:
    for run in (1, 2):
        checkpoint_folder(Path(db), run).mkdir(parents=True)
    eetui("rm", "1", "--yes", EETUI_DB=db)
    done = eetui("rm", "loss-1", "distill-2", "--for-good", "--yes", EETUI_DB=db)
    assert done.returncode == 0, done.stderr
    assert "deleted loss-1 (run 1), distill-2 (run 2) for good" in done.stderr
    assert names(eetui, db, "--deleted") == []
    assert not checkpoint_folder(Path(db), 1).parent.exists()
    with closing(sqlite3.connect(db)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM events WHERE run_id < 3").fetchone() == (0,)
    connection.close()
    refused(eetui("restore", "1", EETUI_DB=db), "there is no run '1' in the bin")


def test_nothing_is_deleted_where_nobody_can_be_asked(eetui: Eetui, db: str) -> None:
    refused(eetui("rm", "1", EETUI_DB=db), "confirm with --yes")
    refused(eetui("rm", "1", "--for-good", EETUI_DB=db), "confirm with --yes")
    with Reader(Path(db)) as reader:
        assert reader.count() == 6
