"""Fixtures: tiny queued runs, and a tiny text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.windows import Dataset
from core.session.prepare import Prepared
from core.store.new_runs import NewRun
from core.store.writer import Writer
from tests.core.training import MakeConfig


@pytest.fixture
def queue(writer: Writer, tiny_config: MakeConfig, tiny_dataset: Dataset) -> Callable[..., Prepared]:
    """Return a function that queues one tiny run for each method."""

    def queue(*methods: str, **values: Any) -> Prepared:
        configs = tuple(tiny_config(method, max_epochs=1, **values) for method in methods)
        new = [NewRun(None, config.method, 1, None, config.model_dump_json(), {}) for config in configs]
        return Prepared(configs, tuple(writer.create_experiment(new)), tiny_dataset)

    return queue


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Write a text of a thousand words, a few of them over and over in a changing order; return its path."""
    file = tmp_path / "words.txt"
    file.write_text("\n".join(" ".join(f"w{line * word % 23}" for word in range(10)) for line in range(100)))
    return str(file)
