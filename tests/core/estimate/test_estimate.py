"""An estimate: the sum over its runs, and refused configs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.errors import UsageError
from core.estimate.estimate import add_up, estimate, pass_seconds, read_sizes
from core.estimate.speed import Speed
from core.estimate.workload import Pass, Sizes, Span, memory
from core.machine.processes import memory_now
from core.protocol.resolve import resolve

SPEED = Speed(training={1: 3.0}, layers={1: 0.5}, head=1.0, classifier=0.25)
Make = Callable[..., RunConfig]


def test_seconds_of_a_pass_are_those_of_its_parts() -> None:
    tokens = Span(1, 2)
    assert pass_seconds(Pass(tokens, (1, 1), heads=1.5), SPEED) == tokens * 2.5
    assert pass_seconds(Pass(tokens, (1,), trains=True), SPEED) == tokens * 3.0
    assert pass_seconds(Pass(tokens, trains=True, classifier=True), SPEED) == tokens * 0.25


def test_an_estimate_adds_up_all_runs(tiny_config: Make) -> None:
    configs = [resolve(tiny_config(method, max_epochs=3, patience=1)) for method in ("loss", "softmax")]
    sizes = Sizes(48, 16, 30)
    found = add_up(configs, sizes, SPEED, held=1_000_000)
    assert (found.runs, found.train_tokens, found.eval_tokens, found.vocab_size) == (2, 192, 64, 30)
    assert found.epochs == Span(2, 3)
    block0, block1 = 156, 80  # tokens of an epoch: 48 and 24 windows of 4, a fifth of them held out
    assert found.trained_tokens == Span(2 * block0 + 2 * 2 * block1, 3 * block0 + 2 * 3 * block1)
    assert 0 < found.seconds.low < found.seconds.high
    assert 0 < found.flops.low < found.flops.high
    assert found.memory == 1_000_000 + memory(configs[0], sizes)
    assert found.speed == pytest.approx(1 / SPEED.training[1])


def test_an_estimate_reads_the_corpus_as_training_does(tiny_config: Make, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{number % 17}" for number in range(2000)))
    config = tiny_config(corpus=str(text), num_samples=100, seq_len=4, batch_size=8)
    sizes = read_sizes(config)
    assert sizes == Sizes(120, 24, 19)
    found = estimate([config], sizes)
    assert found is not None
    assert found.seconds.low > 0
    assert found.memory >= memory_now() / 2
    assert found.device == "cpu"


def test_a_model_larger_than_the_machine_is_not_even_measured(tiny_config: Make) -> None:
    config = tiny_config(dim=1_000_000, num_heads=1)
    with pytest.raises(UsageError, match=r"a run needs .* GB of memory, and .* GB is free on cpu: lower model\.dim"):
        estimate([config], Sizes(48, 16, 30))


def test_what_the_training_process_holds_counts(tiny_config: Make) -> None:
    found = estimate([tiny_config()], Sizes(48, 16, 30), held=10**12)
    assert found is not None
    assert found.memory > 10**12
