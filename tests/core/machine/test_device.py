"""What the machine reaches."""

import pytest
import torch

from core.machine.device import peak_flops, waiter
from tests.core.training import MakeConfig


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_peak_is_measured_without_drawing_anything(dtype: str, tiny_config: MakeConfig) -> None:
    before = torch.get_rng_state()
    assert peak_flops(tiny_config(dtype=dtype)) > 1e6
    assert torch.equal(torch.get_rng_state(), before)


def test_the_peak_is_that_of_the_fastest_product(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, *(time for took in (4.0, 2.0) for time in (10.0, 10.0 + took)), 99.0])
    monkeypatch.setattr("core.machine.device.time.perf_counter", lambda: next(ticks))
    assert peak_flops(tiny_config()) == 2 * 384**3 / 2.0


def test_the_cpu_needs_no_waiting_for() -> None:
    assert waiter(torch.device("cpu"))() is None  # type: ignore[func-returns-value]
