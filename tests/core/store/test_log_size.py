"""The write-ahead log: emptied when it is long; where a reader keeps it, that is known and less is written."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.session import outbox
from core.session.outbox import Outbox
from core.store import log_size
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, new, store

LIMIT = 200_000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_size, "LOG_LIMIT", LIMIT)
    monkeypatch.setattr(log_size, "TRY_SECONDS", 0.0)


def fill(writer: Writer, rounds: int = 40) -> None:
    (run,) = writer.create_experiment([new()])
    for _ in range(rounds):
        store(writer, run, EVENTS)


def log_bytes(path: Path) -> int:
    return path.with_name("runs.db-wal").stat().st_size


def test_a_long_log_is_emptied(path: Path) -> None:
    with Writer(path) as writer:
        writer._connection.execute("PRAGMA wal_autocheckpoint = 0")
        fill(writer)
        assert log_bytes(path) < 2 * LIMIT
        assert writer.kept_log() == 0


def test_a_reader_that_keeps_it_is_noticed_and_not_waited_for(path: Path) -> None:
    with Writer(path) as writer, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        fill(writer, 1)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        fill(writer)
        assert writer.kept_log() > LIMIT
        reader.execute("COMMIT")
        fill(writer, 1)
        assert writer.kept_log() == 0
        assert log_bytes(path) <= LIMIT


def test_while_it_is_kept_steps_are_stored_rarely_and_that_is_said_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer(path) as writer, Outbox(1, writer, lambda run, events: None, None) as box:  # type: ignore[arg-type]
        box._waiting, box._sent = [EVENTS[2]], outbox.time.monotonic() - 1
        assert box._is_due()
        assert list(box._kept_log()) == []
        monkeypatch.setattr(writer, "kept_log", lambda: 70 * 2**20)
        assert not box._is_due()
        (warning,) = box._kept_log()
        assert "(70 MiB)" in warning.message
        assert list(box._kept_log()) == []
