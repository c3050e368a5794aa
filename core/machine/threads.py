"""Tasks side by side on the CPU, each on its own share of the threads.

A parallel region makes all threads wait for the slowest, in each of the hundreds of operations of a training step.
Where another process takes a core now and then, that costs more than half of the speed. Threads that synchronise once,
at the end, lose only the time that was taken.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

MOST_WORKERS = 256
"""Largest number of worker threads; they are started when first needed."""

CPU = torch.device("cpu")

Result = TypeVar("Result")

_workers = ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="tensor work")


def shares(count: int, least: int, device: torch.device = CPU) -> list[slice]:
    """Split `count` items into one slice for each of torch's threads, or fewer so that each has at least `least`.

    On a device other than the CPU there is one slice.
    """
    parts = max(1, min(torch.get_num_threads(), count // least)) if device.type == "cpu" else 1
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run all tasks at once without recording gradients, the first on the calling thread; return their results.

    Results may depend on the number of tasks, by rounding, but not on the order in which they run.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    threads = torch.get_num_threads()

    @torch.no_grad()
    def alone(task: Callable[[], Result]) -> Result:
        torch.set_num_threads(max(1, threads // len(tasks)))
        return task()

    others = [_workers.submit(alone, task) for task in tasks[1:]]
    try:
        own = alone(tasks[0])
    finally:
        wait(others)
        torch.set_num_threads(threads)
    return [own, *(other.result() for other in others)]
