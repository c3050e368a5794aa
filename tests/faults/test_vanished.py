"""A database that is removed in mid-run: exit code 1, and all of it is in a new file that the message names."""

import os
import shutil
import time
from pathlib import Path

import pytest

from core.store.reader import Reader
from tests.faults.training import ENDLESS, ended, epochs, forked, listed, training, wait_until


@pytest.fixture
def db(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "gone.db"


def removed(db: Path) -> None:
    for file in db.parent.glob(f"{db.name}*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def test_training_says_where_everything_is_and_can_be_gone_on_with(
    text: Path, environment: dict[str, str], db: Path
) -> None:
    with forked(training(text, *ENDLESS, methods=("loss", "softmax")), environment, db) as process:
        wait_until(lambda: epochs(db) > 1)
        removed(db)
        code, errors = ended(process)
    rescued = db.with_name("gone.rescued.db")
    assert code == 1, errors
    assert f"to go on: eetui resume 1 2 --db {rescued}" in errors.splitlines()[-1]
    assert [row["status"] for row in listed(rescued)] == ["interrupted", "interrupted"]
    assert not db.exists()
    with Reader(rescued) as reader:
        assert reader.state(1).stages[0].epoch > 1


def test_the_console_says_so_too_and_once_more_when_it_is_left(
    text: Path, environment: dict[str, str], db: Path
) -> None:
    ours, theirs = os.openpty()
    arguments = [word for word in training(text, *ENDLESS) if word != "--no-ui"]
    coloured = {name: value for name, value in environment.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    with forked(arguments, coloured, db, terminal=theirs) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        shown = bytearray()

        def drawn(words: bytes) -> bool:
            try:
                shown.extend(os.read(ours, 1_000_000))
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # it has ended
                ended(process)
            return words in shown

        wait_until(lambda: not drawn(b"\0") and epochs(db) > 1)
        shutil.rmtree(db.parent)
        wait_until(lambda: drawn(b"training has"))
        os.write(ours, b"q")
        wait_until(lambda: drawn(b"\0") or process.poll() is not None)
    os.close(ours)
    assert process.returncode == 1
    line = bytes(shown).decode(errors="replace").splitlines()[-1]
    assert f"eetui: the database {db} was removed or replaced while it was in use" in line
    assert f"to go on: eetui resume 1 --db {db.parent.parent / 'gone.rescued.db'}" in line
