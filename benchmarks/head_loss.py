"""Head loss, forward and backward: the plain form, torch's `linear_cross_entropy` and ours, interleaved in one run.

    python benchmarks/head_loss.py --threads 2

Prints, per vocabulary size, the median time of each over the rounds and the ratio to ours, round by round.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import linear_cross_entropy

TOKENS, DIM = 2048, 64
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum")


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, weight, targets)[0]


def contenders() -> dict[str, Loss]:
    found: dict[str, Loss] = {"ours": ours, "plain": plain}
    theirs = getattr(F, "linear_cross_entropy", None)
    if theirs is not None:
        found["torch"] = lambda hidden, weight, targets: theirs(hidden, weight, targets, reduction="sum")
    return found


def seconds(loss: Loss, vocab_size: int) -> float:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, DIM, generator=generator).requires_grad_()
    weight = (torch.randn(vocab_size, DIM, generator=generator) / 8).requires_grad_()
    targets = torch.randint(vocab_size, (TOKENS,), generator=generator)
    began = time.perf_counter()
    loss(hidden, weight, targets).backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.threads} threads")
    print(f"{TOKENS} tokens, dim {DIM}, float32, {options.rounds} rounds after one warm-up\n")
    for vocab_size in (4096, 15_936, 69_830):
        times: dict[str, list[float]] = {name: [] for name in contenders()}
        for _ in range(options.rounds + 1):
            for name, loss in contenders().items():
                times[name].append(seconds(loss, vocab_size))
        work = 3 * 2 * TOKENS * DIM * vocab_size
        for name, taken in times.items():
            ratios = sorted(other / mine for other, mine in zip(taken[1:], times["ours"][1:], strict=True))
            median = statistics.median(taken[1:])
            print(
                f"V {vocab_size:6}  {name:6} {median * 1e3:8.1f} ms  {work / median / 1e9:6.1f} GFLOP/s  "
                f"{statistics.median(ratios):5.2f} × ours [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
            )


if __name__ == "__main__":
    main()
