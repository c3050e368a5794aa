"""Too little memory: refused before anything is taken, and in mid-run the run fails and its siblings go on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from core.config.run_config import RunConfig
from core.errors import UsageError
from core.estimate import memory_check
from core.events import Event, RunFailed
from core.session import prepare as preparation
from core.session import run as session
from core.session.plan import Plan
from core.session.prepare import Prepared, prepare
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.session.listeners import METHODS, ends, ignore
from tests.core.training import MakeConfig


def test_a_model_that_is_too_large_is_refused_before_a_text_is_read(
    writer: Writer, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "load_dataset", lambda *arguments: pytest.fail("the text was read"))
    config = tiny_config(dim=1_000_000, num_heads=2, ffn_dim=1_000_000)
    with pytest.raises(UsageError, match=r"a run needs [\d,.]+ GB of memory, and [\d,.]+ GB is free on cpu"):
        prepare(Plan((config,), (None,)), writer)
    with Reader(writer.path) as reader:
        assert reader.runs() == []


def test_a_text_that_is_too_large_is_refused_before_a_run_is_stored(
    writer: Writer, tiny_config: MakeConfig, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 30_000)
    config = tiny_config(corpus=corpus, num_samples=60)
    with pytest.raises(UsageError, match=r"a run needs .* MB of memory, and 0\.0 MB is free on cpu"):
        prepare(Plan((config,), (None,)), writer)
    with Reader(writer.path) as reader:
        assert reader.runs() == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)
def test_a_run_out_of_memory_fails_and_its_siblings_go_on(
    error: Exception,
    writer: Writer,
    reader: Reader,
    queue: Callable[..., Prepared],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = session.train

    def train(config: RunConfig, *arguments: Any) -> Iterator[Event]:
        for number, event in enumerate(real(config, *arguments)):
            if config.method == METHODS[0] and number == 5:
                raise error
            yield event

    monkeypatch.setattr(session, "train", train)
    assert session.run_experiment(queue(*METHODS), writer, ignore) == ["failed", "finished", "finished"]
    (end,) = ends(reader, 1)
    assert isinstance(end, RunFailed)
    assert end.message.startswith("the machine has too little memory for this run: lower model.dim")
    assert end.traceback == ""
