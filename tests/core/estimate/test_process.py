"""Estimates from a separate process: answered, stopped, killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.errors import UsageError
from core.estimate.process import Estimator
from core.extensions.kinds import EXIT_METHODS

Make = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def estimator() -> Iterator[Estimator]:
    estimator = Estimator()
    yield estimator
    estimator.close()


@pytest.fixture
def on_text(tiny_config: Make, tmp_path: Path) -> Make:
    """Return a factory of tiny configs on a text file."""
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{number % 17}" for number in range(2000)))

    def make(**values: Any) -> RunConfig:
        return tiny_config(**{"corpus": str(text), "num_samples": 100, **values})

    return make


def test_it_answers_again_and_again_from_one_process(estimator: Estimator, on_text: Make) -> None:
    first = estimator.estimate(on_text(), ["loss"], 1)
    process = estimator._process
    second = estimator.estimate(on_text(), ["loss", "softmax"], 2)
    assert first is not None
    assert second is not None
    assert (first.runs, second.runs) == (1, 4)
    assert first.vocab_size == 19
    assert 0 < first.trained_tokens.low < second.trained_tokens.low
    assert min(first.seconds.low, second.seconds.low) > 0
    assert estimator._process is process is not None


def test_what_is_wrong_is_raised_and_the_next_request_answered(estimator: Estimator, on_text: Make) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        estimator.estimate(on_text(corpus="/nowhere/text.txt"), ["loss"], 1)
    assert estimator.estimate(on_text(), ["loss"], 1) is not None


def test_an_own_method_counts_like_any_other_and_one_that_is_no_good_is_refused(
    estimator: Estimator, on_text: Make, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text((EXIT_METHODS.folder / "loss.py").read_text())
    assert estimator.estimate(on_text(), ["loss", str(mine)], 1) is not None
    mine.write_text("EXIT = None\n")
    with pytest.raises(UsageError, match=r"exit method mine can't be used: .*mine.py:1: EXIT must be an instance"):
        estimator.estimate(on_text(), [str(mine)], 1)


def test_it_stops_waiting_when_told_and_the_newer_request_wins(estimator: Estimator, on_text: Make) -> None:
    until = time.monotonic() + 0.2
    assert estimator.estimate(on_text(), ["loss"], 1, lambda: time.monotonic() > until) is None
    found = estimator.estimate(on_text(), ["softmax"], 3)
    assert found is not None
    assert found.runs == 3


@pytest.mark.soak
def test_a_process_that_is_killed_is_told_of_and_replaced(estimator: Estimator, on_text: Make) -> None:
    assert estimator.estimate(on_text(), ["loss"], 1) is not None
    assert estimator._process is not None
    os.kill(estimator._process.pid, signal.SIGKILL)
    with pytest.raises(UsageError, match="the measurement ended early"):
        estimator.estimate(on_text(), ["loss"], 1)
    assert estimator.estimate(on_text(), ["loss"], 1) is not None


def test_closing_ends_the_process_also_in_the_middle_of_a_request(estimator: Estimator, on_text: Make) -> None:
    ended: list[object] = []
    before = estimator._process
    estimator.close()

    def ask() -> None:
        try:
            ended.append(estimator.estimate(on_text(), ["loss"], 1))
        except UsageError as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while estimator._process in (None, before):
        time.sleep(0.01)
    process = estimator._process
    estimator.close()
    assert process is not None
    thread.join(5)
    assert isinstance(ended[0], UsageError)
    assert process.poll() is not None


def test_nothing_is_started_for_what_nobody_waits_for(on_text: Make) -> None:
    estimator = Estimator()
    assert estimator.estimate(on_text(), ["loss"], 1, lambda: True) is None
    assert estimator._process is None
