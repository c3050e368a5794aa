"""Where a run's files lie."""

from pathlib import Path

from core.store.files import checkpoint_folder


def test_the_folder_of_a_run_lies_beside_its_database() -> None:
    assert checkpoint_folder(Path("/data/runs.db"), 7) == Path("/data/runs.db.checkpoints/7")
