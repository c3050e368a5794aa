"""The bench on which checkpoints are tested."""

import pytest

from core.data.windows import Dataset
from core.session import run as session
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.protocol.bench import Bench


@pytest.fixture
def bench(writer: Writer, reader: Reader, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(writer, reader, tiny_dataset)
    monkeypatch.setattr(session, "train", bench.train)
    return bench
