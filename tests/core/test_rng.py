"""Named random streams."""

import torch

from core.rng import stream


def test_random_streams_depend_on_seed_and_name_alone() -> None:
    draws = {
        names: torch.rand(3, generator=stream(*names)).tolist() for names in [(1, "a"), (1, "b"), (2, "a"), (1, "a", 2)]
    }
    assert len({tuple(draw) for draw in draws.values()}) == 4
    assert torch.rand(3, generator=stream(1, "a")).tolist() == draws[1, "a"]
