"""A place for a database, one that is open for writing, and one with runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store.writer import Writer
from tests.scripted_runs import make_database


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where there is none yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs.db"


@pytest.fixture
def writer(database: Path) -> Iterator[Writer]:
    with Writer(database) as opened:
        yield opened


@pytest.fixture
def six_runs(database: Path) -> Path:
    """A database of three finished runs, a failed, an interrupted and a queued one."""
    return make_database(database)
