"""A finished database that can't be written: of a colleague, or on a read-only mount. It is read, and left alone."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_full_disk import can_mount
from tests.faults.training import ROOT, command
from tests.faults.unprivileged import give_up_overrides
from tests.scripted_runs import make_database

COMMANDS = [("ls",), ("show", "1"), ("compare", "1", "2")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished database."""
    folder = tmp_path_factory.mktemp("colleague")
    make_database(folder / "runs.db")
    return folder


@pytest.fixture
def locked(folder: Path) -> Iterator[Path]:
    """The same, which nobody may write."""
    (folder / "runs.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    (folder / "runs.db").chmod(0o644)


def called(arguments: tuple[str, ...], db: Path, environment: dict[str, str], *before: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*before, *command(*arguments)],
        env=environment | {"EETUI_DB": str(db), "PYTHONPATH": str(ROOT)},
        preexec_fn=None if before else give_up_overrides,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_folder_that_can_not_be_written_is_read_and_left_alone(locked: Path, environment: dict[str, str]) -> None:
    before = {file.name: file.read_bytes() for file in locked.iterdir()}
    for arguments in COMMANDS:
        code, shown, errors = called(arguments, locked / "runs.db", environment)
        assert (code, errors) == (0, ""), errors
        assert "loss-1" in shown
    assert {file.name: file.read_bytes() for file in locked.iterdir()} == before
    code, _, errors = called(("run", "--no-ui"), locked / "runs.db", environment)
    assert code == 2
    assert "is read-only: make it and its folder writable" in errors


def test_a_file_that_can_not_be_written_in_a_folder_that_can(folder: Path, environment: dict[str, str]) -> None:
    (folder / "runs.db").chmod(0o444)
    code, shown, errors = called(("ls",), folder / "runs.db", environment)
    assert (code, errors) == (0, "")
    assert "loss-1" in shown
    assert [file.name for file in folder.iterdir()] == ["runs.db"]
    (folder / "runs.db").chmod(0o644)


def test_a_read_only_mount(folder: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this system lets nobody mount a file system of their own")
    shutil.copy(folder / "runs.db", tmp_path)
    line = f'mount --bind "{tmp_path}" "{tmp_path}" && mount -o remount,ro,bind "{tmp_path}" && "$@"'
    code, shown, errors = called(
        COMMANDS[0], tmp_path / "runs.db", environment, "unshare", "-rm", "sh", "-c", line, "sh"
    )
    assert (code, errors) == (0, "")
    assert "loss-1" in shown
