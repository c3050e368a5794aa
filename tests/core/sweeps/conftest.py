"""Fixtures: a tiny sweep on a tiny text, and what a test asks of its runs."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.config.run_config import Layer, build
from core.config.stored import completed
from core.data.windows import load_dataset
from core.events import Event, StageEnded, StageStarted
from core.protocol.stage_key import stage_keys
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.writer import Writer
from core.sweeps.create import plan_sweep, store_sweep
from core.sweeps.spec import Spec, grid, spec_from
from core.sweeps.values import read_axis
from tests.core.training import SOUND

SIZES = {
    "num_samples": 60, "seq_len": 4, "batch_size": 8, "dim": 8, "num_heads": 2, "ffn_dim": 12, "block_layers": [1, 1],
    "lr": 1e-2, "max_epochs": 3, "patience": 2, "exit_epochs": 2, "device": "cpu", "threads": 1,
}  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Write a text of 1,000 words in which the next one is partly predictable."""
    draw = random.Random(1)
    known = [f"w{number}" for number in range(20)]
    file = tmp_path / "words.txt"
    file.write_text(" ".join(draw.choice(known[:6] if draw.random() < 0.7 else known) for _ in range(1000)))
    return file


@pytest.fixture
def make_spec(words: Path) -> Callable[..., Spec]:
    """Return a function that makes a sweep of tiny runs over those values."""

    def make(methods: Sequence[str] = ("loss",), seeds: int = 1, search: object = None, **axes: str) -> Spec:
        base = Layer("test", {**SIZES, **SOUND, "corpus": str(words), "tokenizer": "word", "method": methods[0]})
        varied = [read_axis(name, text) for name, text in axes.items()]
        return spec_from([base], varied, list(methods), seeds, search=search)  # type: ignore[arg-type]

    return make


def stored(writer: Writer, spec: Spec, name: str = "sweep") -> int:
    """Store a sweep; return its number."""
    return store_sweep(writer, name, spec, plan_sweep(spec, grid(spec), name))


def completed_trainings(reader: Reader, sweep: int) -> Counter[str]:
    """Count how often each stage of a sweep was trained to its end, by its key."""
    count: Counter[str] = Counter()
    for cell in cells_of(reader, sweep):
        row = reader.run(cell["id"])
        config = build([Layer("run", completed(row["config"]))])
        fingerprint = load_dataset(config.data, config.train.batch_size, config.model.source).fingerprint
        keys = stage_keys(config, fingerprint)
        count.update(keys[stage] for stage in trained_stages(reader.events(cell["id"], steps=False)[0]))
    return count


def trained_stages(events: Sequence[Event]) -> list[str]:
    """Return the stages that were trained, and not taken from elsewhere, to their end."""
    found, open_stage = [], None
    for event in events:
        if isinstance(event, StageStarted):
            trains = event.kind in ("lm", "exit classifier") and not event.reused
            open_stage = event.stage if trains else None
        elif isinstance(event, StageEnded) and event.stage == open_stage:
            found.append(event.stage)
    return found
