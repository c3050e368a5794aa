"""A model of unequal blocks."""

import pytest

from core.config.run_config import RunConfig
from tests.core.training import MakeConfig


@pytest.fixture
def deep_config(tiny_config: MakeConfig) -> MakeConfig:
    """Three blocks of unequal depth, in float64 so that no signal is decided by rounding."""

    def make(method: str = "loss") -> RunConfig:
        return tiny_config(method, block_layers=(1, 2, 1), dtype="float64")

    return make
