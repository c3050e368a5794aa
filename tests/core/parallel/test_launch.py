"""Which process of a launch this is, and the devices that each needs."""

import pytest
import torch

from core.errors import ConfigError, UsageError
from core.parallel.launch import Launch, is_follower, launch
from core.parallel.world import Rows, World, require_devices


def test_the_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (launch(), is_follower()) == (None, False)
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert (launch(), is_follower()) == (Launch(3, 4, 1, 2), True)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="start with torchrun, or unset it"):
        launch()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_of_a_batch_counts_once(size: int) -> None:
    for count in (1, 2, 4, 7):
        worlds = [World() for _ in range(size)]
        for rank, world in enumerate(worlds):
            world.rank, world.size = rank, size
        rows = [world.rows(count) for world in worlds]
        taken = [row for part in rows if part.weight for row in range(count)[part.own]]
        assert taken == list(range(count))
        assert all(len(range(count)[part.own]) >= 1 for part in rows)
        assert torch.cat([world.part(torch.arange(count)) for world in worlds]).tolist() == list(range(count))
    assert World().rows(3) == Rows(3, slice(0, 3))


def test_processes_without_a_device_of_their_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    require_devices("cuda:0", None)
    require_devices("cpu", Launch(0, 2, 0, 2))
    require_devices("cuda", Launch(0, 2, 0, 1))
    with pytest.raises(ConfigError, match=r"machine.device cuda:0 is one device, and 2 processes train"):
        require_devices("cuda:0", Launch(0, 2, 0, 2))
    with pytest.raises(ConfigError, match="2 processes train on this machine, which has 1 GPUs"):
        require_devices("cuda", Launch(0, 2, 0, 2))
