"""Fixtures: a config and a dataset small enough to train in milliseconds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.run_config import Layer, RunConfig, build
from core.data.tokenizers import WordVocabulary
from core.data.windows import Dataset, Windows
from core.store.reader import Reader
from core.store.writer import Writer

TINY = {
    "corpus": "random",
    "tokenizer": "word",
    "seq_len": 4,
    "dim": 8,
    "num_heads": 2,
    "ffn_dim": 12,
    "block_layers": (1, 1),
    "max_seq_len": 8,
    "lr": 1e-2,
    "batch_size": 8,
    "max_epochs": 3,
    "patience": 2,
    "exit_epochs": 2,
    "device": "cpu",
    "threads": 1,
}
WORDS = 28  # and <unk> and <pad>


@pytest.fixture
def tiny_config() -> Callable[..., RunConfig]:
    """Return a factory of tiny run configs; keywords are leaf names of config fields."""

    def make(method: str = "loss", **values: Any) -> RunConfig:
        return build([Layer("test", {**TINY, "method": method, **values})])

    return make


@pytest.fixture
def tiny_dataset() -> Dataset:
    """Return a dataset of random words, the common ones first, in 48 training and 16 evaluation windows of 4 tokens."""
    draw = torch.Generator().manual_seed(7)
    chances = 1 / torch.arange(1, WORDS + 1)

    def windows(count: int) -> Windows:
        words = 2 + torch.multinomial(chances, count * 4 + 1, replacement=True, generator=draw)
        return Windows(words[:-1].view(count, 4), words[1:].view(count, 4))

    vocabulary = WordVocabulary([" ".join(f"w{number}" for number in range(WORDS))])
    return Dataset(windows(48), windows(16), vocabulary, "random", "fingerprint")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with Writer(path) as writer:
        yield writer


@pytest.fixture
def reader(writer: Writer, path: Path) -> Iterator[Reader]:
    with Reader(path) as reader:
        yield reader
