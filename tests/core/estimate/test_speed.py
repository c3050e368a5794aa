"""The measurement that an estimate rests on."""

from collections.abc import Callable

import torch

from core.config.run_config import RunConfig
from core.estimate.speed import measure

Make = Callable[..., RunConfig]


def test_the_speed_is_measured_on_real_steps_and_the_thread_count_put_back(tiny_config: Make) -> None:
    before = torch.get_num_threads()
    speed = measure(tiny_config(block_layers=(1, 2), threads=before + 1), 30, seconds=0.05)
    assert speed is not None
    assert set(speed.training) == set(speed.layers) == {1, 2}
    assert min(*speed.training.values(), speed.head, speed.classifier) > 0
    assert torch.get_num_threads() == before


def test_nothing_is_fitted_where_the_method_learns_nothing(tiny_config: Make) -> None:
    speed = measure(tiny_config("softmax"), 30, seconds=0.01)
    assert speed is not None
    assert speed.classifier == 0


def test_a_measurement_stops_when_told(tiny_config: Make) -> None:
    steps = iter([False, False])
    assert measure(tiny_config(), 30, 60.0, lambda: next(steps, True)) is None


def test_a_high_learning_rate_can_be_measured(tiny_config: Make) -> None:
    assert measure(tiny_config(lr=1e6), 30, seconds=0.05) is not None
