"""The list's tests begin with runs in the database."""

from pathlib import Path

import pytest


@pytest.fixture
def database(six_runs: Path) -> Path:
    return six_runs
