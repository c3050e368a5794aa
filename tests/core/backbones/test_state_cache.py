"""The cache of states: half precision, found again, bounded, never there in part."""

import os
from collections.abc import Callable

import pytest
import torch

from core.backbones import state_cache
from core.backbones.state_cache import (
    StateCache,
    abandoned,
    cache_bytes,
    caches_folder,
    find_states,
    kept_caches,
    require_room,
    writing_states,
)
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.errors import ConfigError

BLOCKS, WINDOWS, WIDTH, DIM = 2, 5, 3, 4
Write = Callable[..., StateCache]


def config(*assignments: str) -> RunConfig:
    values = ["model.source=hf:tiny#sha256=0", "block_layers=1,1", f"model.dim={DIM}", *assignments]
    return build([preset_layer("pretrained"), *map(set_layer, values)])


def inputs(first: int = 0) -> torch.Tensor:
    return torch.arange(WINDOWS * WIDTH).view(WINDOWS, WIDTH) + first


def states(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(BLOCKS, WINDOWS, WIDTH, DIM, generator=torch.Generator().manual_seed(1))


def write(first: int = 0, scale: float = 1.0) -> StateCache:
    with writing_states(inputs(first), config()) as writer:
        for block in range(BLOCKS):
            for windows in (slice(0, 3), slice(3, 6)):
                writer.put(block, windows, states(scale)[block, windows])
    found = find_states(inputs(first), config())
    assert found is not None
    return found


@pytest.mark.parametrize("scale", [1.0, 1e5, 1e-2])
def test_states_are_read_as_they_were_written_up_to_half_precision(scale: float) -> None:
    cache = write(scale=scale)
    for block in range(BLOCKS):
        expected = states(scale)[block]
        torch.testing.assert_close(
            cache.states(block, slice(None)), expected.flatten(0, 1), rtol=2e-3, atol=1e-3 * scale
        )
        some = torch.tensor([4, 0])
        whole = cache.states(block, slice(None)).view(WINDOWS, WIDTH, DIM)
        assert torch.equal(cache.states(block, some), whole[some].flatten(0, 1))


def test_some_blocks_of_a_cache_are_a_cache() -> None:
    cache = write(scale=1e5)
    assert torch.equal(cache.of_blocks([1]).states(0, slice(1, 3)), cache.states(1, slice(1, 3)))


def test_only_the_same_model_text_cut_and_dtype_find_it() -> None:
    write()
    assert find_states(inputs(), config("data.num_samples=9", "model.readout=mlp", "seed=3")) is not None
    assert find_states(inputs(1), config()) is None
    for other in ("model.source=hf:other#sha256=0", "block_layers=1,2", "machine.dtype=bfloat16"):
        assert find_states(inputs(), config(other)) is None


def test_an_interrupted_writing_leaves_nothing() -> None:
    def interrupted() -> None:
        with writing_states(inputs(), config()) as writer:
            writer.put(0, slice(0, 3), states()[0, :3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(caches_folder().iterdir()) == []


def test_the_size_is_known_before() -> None:
    cache = write()
    files = sum(file.stat().st_size for file in cache.folder.iterdir())
    assert files == pytest.approx(cache_bytes(WINDOWS * WIDTH, config()), abs=200)  # the header of the scales


def test_caches_unused_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(0), write(1)
    for age, cache in ((20, second), (10, first)):
        os.utime(cache.folder, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(state_cache, "MOST_BYTES", int(2.5 * kept_caches()[0][1]))
    third = write(2)
    assert [path for path, _ in kept_caches()] == [first.folder, third.folder]


def test_a_cache_larger_than_all_may_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the states of 9,000,000,000 tokens take .* GB .*: lower data.num_samples"):
        require_room(9_000_000_000, config())


def test_what_a_killed_run_has_half_written_is_found_a_day_later_and_makes_room() -> None:
    partial = caches_folder() / ".half"
    partial.mkdir(parents=True)
    (partial / "block0.f16").write_bytes(b"12345")
    assert abandoned() == kept_caches() == []
    for path in (partial / "block0.f16", partial):
        os.utime(path, (1e9, 1e9))
    assert abandoned() == [(partial, 5)]
    write()
    assert not partial.exists()
