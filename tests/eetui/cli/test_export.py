"""`eetui export`: which runs it takes, and what it says where it can't."""

from pathlib import Path

import pytest

from tests.conftest import Eetui
from tests.stored_tokens import store_run

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Store two runs with their tokens."""
    path = tmp_path / "runs.db"
    for windows in (6, 5):
        store_run(path, windows=windows)
    return str(path)


def test_runs_are_named_or_filtered_and_several_files_written_at_once(db: str, tmp_path: Path, eetui: Eetui) -> None:
    tokens, events = tmp_path / "t.csv", tmp_path / "e.csv"
    done = eetui("export", "method:loss", "id<=1", "--tokens", str(tokens), "--events", str(events), "--db", db)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(tokens.read_text().splitlines()) == 1 + 6 * 16 * 2
    assert "wrote 192 rows" in done.stderr
    assert len(events.read_text().splitlines()) > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1"], "--tokens FILE"),
        (["method:gain", "--tokens", "t.csv"], "no run matches"),
        (["7", "--tokens", "t.csv"], "there is no run '7'"),
        (["1", "--tokens", "t.json"], r"t.json: the format is that of the suffix"),
        (["1", "--tokens", "t.csv", "--events", "./t.csv"], "one would replace the other"),
        (["1", "--to", "tensorboard"], "--to TRACKER and --output DIR go together"),
        (["1", "--to", "board", "--output", "logs"], "there is no tracker 'board'"),
        (["1", "--tokens", "t.csv", "--force"], "--force is for --adapter"),
        (["1", "2", "--adapter", "exits"], "--adapter takes one run"),
    ],
)
def test_what_can_not_be_exported_is_one_line(words: list[str], message: str, db: str, eetui: Eetui) -> None:
    done = eetui("export", *words, "--db", db)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume", "1", "--no-ui", "--mirror", "board:logs"], "there is no tracker 'board'"),
        (["--mirror", "tensorboard:logs", "ls"], "--mirror is for the console: write it after ls, if that trains"),
    ],
)
def test_where_a_mirror_can_not_be_is_one_line(words: list[str], message: str, db: str, eetui: Eetui) -> None:
    done = eetui(*words, EETUI_DB=db)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_a_mirror_of_the_settings_file_holds_where_there_is_no_option(tmp_path: Path, db: str, eetui: Eetui) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('mirror = ["board:logs"]')
    done = eetui("resume", "1", "--no-ui", EETUI_DB=db, EETUI_CONFIG=str(settings))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no tracker 'board'" in done.stderr


def test_a_mirror_that_can_not_be_is_told_before_anything_is_trained(text: Path, tmp_path: Path, eetui: Eetui) -> None:
    db = tmp_path / "new.db"
    done = eetui("run", "--no-ui", "--corpus", str(text), "--mirror", "board:logs", "--db", str(db))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "there is no tracker 'board'" in done.stderr
    assert not db.exists()
