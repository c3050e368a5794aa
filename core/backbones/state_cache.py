"""Cache of a frozen backbone's states: run once over a text, kept on disk, read by every readout and exit.

The states after each block are a memory-mapped file of half-precision rows, each divided by a power of two of its own
where its values would be too large. A cache is named by the hash of all that its states depend on (model, text, cut,
dtype), so sibling runs and later ones find it. Together caches are bounded: the ones unused for longest make room.

Shapes: N windows of T tokens, D model width, K blocks; n rows, one a token.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.data.batches import READ_TOKENS
from core.data.cache import cache_dir
from core.errors import ConfigError
from core.machine.disks import disk_of

FORMAT = 1
"""To be raised when files of before could be mistaken for ones of now."""
MOST_BYTES = 40 * 10**9
"""Largest size of all caches together."""
LARGEST_HALF = 32768.0
"""Largest absolute value of a stored row; half precision ends at 65,504."""
SCALES = "scales.npy"
ABANDONED_SECONDS = 86_400.0
"""Age from which a cache that is not whole is not being written any more."""


@dataclass(frozen=True)
class StateCache:
    """The states of all tokens of some windows, after each block.

    Attributes:
        chosen: numbers of the blocks, as they were written; None: all.
    """

    folder: Path
    windows: int
    seq_len: int
    dim: int
    chosen: tuple[int, ...] | None = None

    @property
    def windows_at_once(self) -> int:
        """Number of windows whose states are read at once."""
        return max(1, READ_TOKENS // self.seq_len)

    def of_blocks(self, numbers: Sequence[int]) -> "StateCache":
        """Return the cache of some of the blocks only, as if the model were cut there and nowhere else."""
        return replace(self, chosen=tuple(numbers))

    def states(self, block: int, windows: Tensor | slice) -> Tensor:
        """Read the states of some windows after a block, float32 `[n, D]`, on the CPU."""
        number = block if self.chosen is None else self.chosen[block]
        some = windows if isinstance(windows, slice) else windows.cpu().numpy()
        shape = (self.windows, self.seq_len, self.dim)
        stored = np.memmap(_file(self.folder, number), np.float16, "r", shape=shape)[some]
        scales = np.load(self.folder / SCALES, mmap_mode="r")[number].reshape(self.windows, self.seq_len)[some]
        rows = torch.from_numpy(stored.reshape(-1, self.dim).astype(np.float32))
        return rows.mul_(torch.from_numpy(scales.reshape(-1, 1).copy()))


class StateWriter:
    """A cache that is being written, for consecutive batches of windows."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]) -> None:
        blocks, *rest = shape
        self._files = [np.memmap(_file(folder, block), np.float16, "w+", shape=tuple(rest)) for block in range(blocks)]
        self.scales = np.ones((blocks, rest[0] * rest[1]), np.float32)

    def put(self, block: int, windows: slice, states: Tensor) -> None:
        """Store states `[B, T, D]` of consecutive windows."""
        rows = states.float().cpu()
        largest = rows.abs().amax(-1)  # [B, T]
        scale = torch.exp2((largest / LARGEST_HALF).clamp(min=1).log2().ceil())
        self._files[block][windows] = (rows / scale[..., None]).half().numpy()
        width = states.shape[1]
        self.scales[block, windows.start * width : windows.start * width + scale.numel()] = scale.flatten().numpy()

    def flush(self) -> None:
        """Bring everything to the files."""
        for file in self._files:
            file.flush()


def cache_bytes(tokens: int, config: RunConfig) -> int:
    """Return the size of a cache of so many tokens, for a resolved config."""
    return len(config.model.block_layers) * tokens * (2 * config.model.dim + 4)


def cache_key(inputs: Tensor, config: RunConfig, trained: str = "") -> str:
    """Return the hash, in hex, of all that the states of these windows `[N, T]` depend on; `config` is resolved.

    Args:
        trained: hash of the layers' weights where they were trained (`PretrainedModel.trained_digest`).
    """
    depends_on = [
        FORMAT, config.model.source, list(accumulate(config.model.block_layers)), config.machine.dtype, inputs.shape[1],
    ]  # fmt: skip
    text = hashlib.sha256(inputs.cpu().contiguous().numpy().astype("<i4").tobytes()).hexdigest()
    return hashlib.sha256(json.dumps([*depends_on, text, *filter(None, [trained])]).encode()).hexdigest()


def find_states(inputs: Tensor, config: RunConfig, trained: str = "") -> StateCache | None:
    """Return the cache of these windows `[N, T]`; None if there is none. Arguments as for `cache_key`."""
    folder = caches_folder() / cache_key(inputs, config, trained)
    if not folder.is_dir():
        return None
    os.utime(folder)
    windows, seq_len = inputs.shape
    return StateCache(folder, windows, seq_len, config.model.dim)


@contextmanager
def writing_states(inputs: Tensor, config: RunConfig, trained: str = "") -> Iterator[StateWriter]:
    """Write the cache of these windows `[N, T]`; it is there once the context ends without an error, never in part.

    Arguments as for `cache_key`.

    Raises:
        ConfigError: it is too large, or the disk is too full.
    """
    require_room(inputs.numel(), config)
    parent = caches_folder()
    parent.mkdir(parents=True, exist_ok=True)
    _make_room(parent, cache_bytes(inputs.numel(), config))
    partial = Path(tempfile.mkdtemp(dir=parent, prefix="."))
    try:
        writer = StateWriter(partial, (len(config.model.block_layers), *inputs.shape, config.model.dim))
        yield writer
        writer.flush()
        np.save(partial / SCALES, writer.scales)
        try:
            partial.rename(parent / cache_key(inputs, config, trained))
        except OSError:  # another process was faster
            if not (parent / cache_key(inputs, config, trained)).is_dir():
                raise
            shutil.rmtree(partial, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def require_room(tokens: int, config: RunConfig) -> None:
    """Refuse a cache that is larger than all may be, or than the disk has room for.

    Raises:
        ConfigError: it is.
    """
    needed, folder = cache_bytes(tokens, config), caches_folder()
    removable = sum(size for _, size in kept_caches())
    most = min(MOST_BYTES, disk_of(folder).free + removable)
    if needed > most:
        raise ConfigError(
            f"the states of {tokens:,} tokens take {needed / 1e9:,.1f} GB in {folder}, and at most {most / 1e9:,.1f} "
            f"GB may be used: lower data.num_samples, take fewer blocks, or set EETUI_CACHE to a larger disk"
        )


def kept_caches() -> list[tuple[Path, int]]:
    """Return all caches with their size in bytes, the ones unused for longest first."""
    return _sizes(path for path in caches_folder().glob("*") if not path.name.startswith("."))


def abandoned() -> list[tuple[Path, int]]:
    """Return the caches that killed processes have half written, with their size in bytes."""
    oldest = time.time() - ABANDONED_SECONDS
    return _sizes(path for path in caches_folder().glob(".*") if _last_written(path) < oldest)


def caches_folder() -> Path:
    """Return the folder of all caches of states; it need not exist."""
    return cache_dir() / "states"


def _sizes(paths: Iterable[Path]) -> list[tuple[Path, int]]:
    """Return the folders among those, with their size in bytes, the oldest first."""
    folders = sorted((path for path in paths if path.is_dir()), key=lambda path: path.stat().st_mtime)
    return [(path, sum(file.stat().st_size for file in path.iterdir())) for path in folders]


def _last_written(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.glob("*"))), default=0.0)


def _make_room(parent: Path, needed: int) -> None:
    """Delete what is half written, and the caches that were unused for longest, until one of that size fits."""
    for path, _ in abandoned():
        shutil.rmtree(path, ignore_errors=True)
    kept = kept_caches()
    used, free = sum(size for _, size in kept), shutil.disk_usage(parent).free
    for path, size in kept:
        if used + needed <= MOST_BYTES and needed <= free:
            return
        shutil.rmtree(path, ignore_errors=True)
        used, free = used - size, free + size


def _file(folder: Path, block: int) -> Path:
    return folder / f"block{block}.f16"
