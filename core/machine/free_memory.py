"""Memory that this process may still take: of the machine, of its control groups, and of its own limits."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from core.machine.cores import group_folders, text_of

WHAT_TO_LOWER = (
    "model.dim, model.ffn_dim, model.block_layers, train.batch_size, data.seq_len, data.vocab_size or data.num_samples"
)
"""What to lower where a machine is too small for a run."""
WHAT_TO_LOWER_FROZEN = (
    "take machine.dtype bfloat16 or a smaller model, or lower exit.calibration_ratio, data.num_samples or "
    "train.batch_size"
)
"""The same for a pretrained model."""
WHAT_TO_LOWER_TRAINED = (
    "take train.backbone frozen, which keeps no gradients and moments, or a smaller model, or lower train.batch_size "
    "or data.seq_len"
)
"""The same for a pretrained model whose weights are all trained."""
OUT_OF_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")
"""What the errors of torch's allocators say, in lower case."""
UNLIMITED = 1 << 60
"""What control groups of version 1 write where there is no limit is larger."""


def free_memory(device: str = "cpu") -> int | None:
    """Return the bytes that can still be taken on a device; None where the system does not tell."""
    if device.startswith("cuda"):
        import torch  # it takes a second, and forms ask for the host's memory only

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if device != "cpu":
        return None
    return min(_host(), default=None)


def _host() -> Iterator[int]:
    """Yield what each limit of a process leaves."""
    yield from available(text_of("/proc/meminfo"))
    for folder in group_folders(text_of("/proc/self/mounts"), text_of("/proc/self/cgroup"), "memory"):
        yield from left_in(folder)
    pages = text_of("/proc/self/statm").split()
    for limit, column in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and len(pages) > column:
            yield max(0, most - int(pages[column]) * resource.getpagesize())


def available(meminfo: str) -> Iterator[int]:
    """Yield what the machine has left for new processes without swapping, from the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def total_memory() -> int | None:
    """Return the bytes of memory that the machine has; None where the system does not tell."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    return pages if pages > 0 else None


def left_in(folder: Path) -> Iterator[int]:
    """Yield what a control group (version 1 or 2) has left, files that can be read again not counted."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        most, used = text_of(folder / limit).strip(), text_of(folder / usage).strip()
        if most.isdecimal() and used.isdecimal() and int(most) < UNLIMITED:
            counts = dict(line.split()[:2] for line in text_of(folder / "memory.stat").splitlines() if " " in line)
            files = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
            yield max(0, int(most) - max(0, int(used) - files))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, of the host or of a device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in said for word in OUT_OF_MEMORY)
