"""The machine a run computes on: device, threads, memory, speed."""

import gc
import time
from collections.abc import Callable

import torch

from core.config.run_config import RunConfig
from core.machine.thread_count import possible

PEAK_SECONDS = 0.05
"""Duration of the measurement: long enough for one matmul that no other process disturbs."""
CPU_PEAK_SIZE, OTHER_PEAK_SIZE = 384, 4096
"""Size of the matrices, on a CPU for one thread: large enough for full speed, small enough for many matmuls."""


def prepare(config: RunConfig, threads: int | None = None) -> torch.device:
    """Set the number of threads, or as many of them as can be started, and return the device of a resolved config.

    Args:
        threads: number of threads; None: the config's.
    """
    torch.set_num_threads(possible(threads or config.machine.threads))
    return torch.device(config.machine.device)


def waiter(device: torch.device) -> Callable[[], None]:
    """Return a function that blocks until the device is idle; for the CPU it returns at once."""
    others: dict[str, Callable[[], None]] = {
        "cuda": lambda: torch.cuda.synchronize(device),
        "mps": lambda: torch.mps.synchronize(),
    }
    return others.get(device.type, lambda: None)


@torch.no_grad()
def peak_flops(config: RunConfig) -> float:
    """Measure the FLOP/s that a matmul of square matrices reaches now, the best of several, for a prepared config.

    It takes `PEAK_SECONDS`, uses no random stream, and affects no other result.
    """
    device = torch.device(config.machine.device)
    wait, size = waiter(device), OTHER_PEAK_SIZE
    if device.type == "cpu":
        size = round(CPU_PEAK_SIZE * config.machine.threads ** (1 / 3))
    matrix = torch.full((size, size), 0.5, dtype=getattr(torch, config.machine.dtype), device=device)
    output, took, began = torch.empty_like(matrix), list[float](), time.perf_counter()  # [size, size]
    while len(took) < 2 or time.perf_counter() - began < PEAK_SECONDS:
        wait()
        one = time.perf_counter()
        torch.mm(matrix, matrix, out=output)
        wait()
        took.append(time.perf_counter() - one)
    return 2 * size**3 / min(took)


def free_cached() -> None:
    """Give memory that nothing uses back to the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
