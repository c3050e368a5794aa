"""Chunks that are small enough for several."""

import pytest

from core.head import chunks
from core.head import loss as losses
from core.head.chunks import Chunking


@pytest.fixture(autouse=True)
def _chunks_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Force several chunks on a handful of tokens, in a buffer of their own."""
    monkeypatch.setattr(chunks, "SMALL_CPU", Chunking(tokens=5, entries=7))
    monkeypatch.setattr(losses, "_kept", losses._Kept())
