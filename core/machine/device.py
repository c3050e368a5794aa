"""The machine a run computes on: device, threads, memory, speed."""

import resource
import sys
import time
from collections.abc import Callable

import torch

from core.config.run_config import RunConfig
from core.machine.thread_count import possible

PEAK_SECONDS = 0.05
"""Long enough for one product in which nobody else held up the machine."""
CPU_PEAK_SIZE, OTHER_PEAK_SIZE = 384, 4096
"""Of the matrices, the former for one thread: large enough for full speed, small enough for many products."""


def prepare(config: RunConfig) -> torch.device:
    """Set the thread count of a resolved config, or what of it can be started, and return its device."""
    torch.set_num_threads(possible(config.machine.threads))
    return torch.device(config.machine.device)


def waiter(device: torch.device) -> Callable[[], None]:
    """What returns when the device has done all it was given; the CPU has by the time one can ask."""
    others: dict[str, Callable[[], None]] = {
        "cuda": lambda: torch.cuda.synchronize(device),
        "mps": lambda: torch.mps.synchronize(),
    }
    return others.get(device.type, lambda: None)


@torch.no_grad()
def peak_flops(config: RunConfig) -> float:
    """FLOP/s that a product of square matrices reaches now, the best of several; of a prepared config.

    Takes `PEAK_SECONDS`, draws nothing, and the result of no other computation depends on it.
    """
    device = torch.device(config.machine.device)
    wait, size = waiter(device), OTHER_PEAK_SIZE
    if device.type == "cpu":
        size = round(CPU_PEAK_SIZE * config.machine.threads ** (1 / 3))
    matrix = torch.full((size, size), 0.5, dtype=getattr(torch, config.machine.dtype), device=device)
    product, took, began = torch.empty_like(matrix), list[float](), time.perf_counter()
    while len(took) < 2 or time.perf_counter() - began < PEAK_SECONDS:
        wait()
        one = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        wait()
        took.append(time.perf_counter() - one)
    return 2 * size**3 / min(took)


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes, as the operating system counts it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
