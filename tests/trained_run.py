"""A run trained into a database of its own."""

from pathlib import Path
from typing import Any

from core.config.run_config import Layer, build, set_layer
from core.session.plan import Plan
from core.session.prepare import prepare
from core.session.run import run_experiment
from core.store.writer import Writer
from tests.conftest import TINY, TINY_TRAINING


def train_run(path: Path, text: Path, preset: str | None = None, **values: Any) -> int:
    """Train a tiny run into a database of its own; return its number.

    Args:
        preset: name of the preset that it is stored as.
    """
    config = build([*map(set_layer, (*TINY, *TINY_TRAINING)), Layer("test", {"corpus": str(text), **values})])
    with Writer(path) as store:
        prepared = prepare(Plan((config,), (None,), preset), store)
        assert run_experiment(prepared, store, lambda run, events: None) == ["finished"]
    return prepared.runs[0]
