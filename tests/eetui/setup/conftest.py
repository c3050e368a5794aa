"""Fixtures: an empty database, and an estimator that starts no process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store.writer import Writer
from eetui.setup import estimate_panel
from tests.eetui.setup.fake_estimator import FakeEstimating


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEstimating]:
    fake = FakeEstimating()
    monkeypatch.setattr(estimate_panel, "Estimator", lambda: fake)
    monkeypatch.setattr(estimate_panel, "REST_SECONDS", 0.02)
    yield fake
    fake.go_on.set()


@pytest.fixture
def database(database: Path) -> Path:
    with Writer(database):
        pass
    return database
