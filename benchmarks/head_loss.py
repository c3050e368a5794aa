"""Head loss, forward and backward: ours, the plain form and torch's `linear_cross_entropy`, interleaved in one run.

    python -m benchmarks.head_loss [--threads 2] [--quick] [--json FILE]

Each round times a matrix product of 2048 × 2048 × 2048 in float32 and in bfloat16 (the machine's peak), then every
form: the work of three products of tokens × dim × V in its time, its share of the peak in its own number type, and how
its time compares with ours; bfloat16 is left out where the processor only imitates it. Peak memory is what the
operating system counts of a fresh process that does nothing else, less what importing torch takes.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._report import Report, figure, own_peak
from core.head.loss import linear_cross_entropy

TOKENS, DIM, PEAK_SIZE = 2048, 64, 2048
PEAK_WORK = 2 * PEAK_SIZE**3
VOCABULARIES = (4096, 15_936, 69_830)
MEMORY_TOKENS = (2048, 16_384)
PEAKS = {"peak float32": torch.float32, "peak bfloat16": torch.bfloat16}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Times = dict[str, list[float]]


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum")


def plain_bfloat16(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden.bfloat16(), weight.bfloat16()).float()
    return F.cross_entropy(logits, targets, reduction="sum")


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, weight, targets)[0]


def ours_bfloat16(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, weight, targets, matmul_dtype=torch.bfloat16)[0]


def torchs(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    loss: Tensor = F.linear_cross_entropy(hidden, weight, targets, reduction="sum")
    return loss


FORMS: dict[str, Loss] = {
    "ours": ours,
    "plain": plain,
    **({"torch": torchs} if hasattr(F, "linear_cross_entropy") else {}),
    "ours bfloat16": ours_bfloat16,
    "plain bfloat16": plain_bfloat16,
}


def example(tokens: int, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, DIM, generator=draw).requires_grad_()
    weight = (torch.randn(vocab_size, DIM, generator=draw) / 8).requires_grad_()
    return hidden, weight, torch.randint(vocab_size, (tokens,), generator=draw)


def loss_seconds(form: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    hidden, weight, targets = inputs
    hidden.grad = weight.grad = None
    began = time.perf_counter()
    form(hidden, weight, targets).backward()
    return time.perf_counter() - began


def peak_seconds(dtype: torch.dtype, size: int = PEAK_SIZE) -> float:
    """Of one product, the best of three; operands are made anew so that no two rounds share a lucky address."""
    left, right = (torch.rand(size, size).to(dtype) for _ in range(2))
    found = []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(left, right)
        found.append(time.perf_counter() - began)
    return min(found)


def left_out() -> list[str]:
    """Names of what is not measured: where bfloat16 is slower than float32, a round of it takes minutes."""
    exact, short = (peak_seconds(dtype, size=256) for dtype in (torch.float32, torch.bfloat16))
    return [name for name in (*PEAKS, *FORMS) if "bfloat16" in name] if short > exact else []


def rounds(vocab_size: int, count: int, without: list[str]) -> Times:
    """Seconds of everything, round by round, after a warm-up."""
    times: Times = {name: [] for name in (*PEAKS, *FORMS) if name not in without}
    inputs = example(TOKENS, vocab_size)
    for _ in range(count + 1):
        for name, taken in times.items():
            taken.append(peak_seconds(PEAKS[name]) if name in PEAKS else loss_seconds(FORMS[name], inputs))
    return {name: taken[1:] for name, taken in times.items()}


def add_figures(kept: Report, times: Times, vocab_size: int) -> None:
    """Each form's share of the peak in its own number type, and what others take of our time."""
    work, large = 3 * 2 * TOKENS * DIM * vocab_size, vocab_size > VOCABULARIES[0]
    for name in (name for name in PEAKS if name in times):
        kept.add(figure(f"V {vocab_size}: {name}", [PEAK_WORK / taken / 1e9 for taken in times[name]], "GFLOP/s"))
    for name in (name for name in FORMS if name in times):
        peak = times["peak bfloat16" if "bfloat16" in name else "peak float32"]
        kept.add(figure(f"V {vocab_size}: {name}", [work / taken / 1e9 for taken in times[name]], "GFLOP/s"))
        shares = [100 * work / mine / (PEAK_WORK / top) for mine, top in zip(times[name], peak, strict=True)]
        kept.add(figure("  of the peak", shares, "%", least=60 if name == "ours" else None))
        if name != "ours":
            ratios = [other / mine for other, mine in zip(times[name], times["ours"], strict=True)]
            goal = 2.5 if name == "plain" and large else None
            kept.add(figure("  its time ÷ ours", ratios, "×", least=goal))


def memory(form: str, vocab_size: int, tokens: int) -> int:
    """Peak resident bytes that one call takes in a process of its own, inputs and gradients included."""
    command = [sys.executable, "-m", "benchmarks.head_loss", "--measure-memory", form, str(vocab_size), str(tokens)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_memory(form: str, vocab_size: int, tokens: int) -> None:
    before = own_peak()
    loss_seconds(FORMS[form], example(tokens, vocab_size))
    print(own_peak() - before)


def add_memory(kept: Report, vocab_size: int, without: list[str]) -> None:
    for name in (name for name in FORMS if name not in (*without, "plain bfloat16")):
        few, many = (memory(name, vocab_size, tokens) / 2**20 for tokens in MEMORY_TOKENS)
        kept.add(figure(f"V {vocab_size}: {name}, peak memory at {MEMORY_TOKENS[0]:,} tokens", [few], "MiB"))
        kept.add(figure(f"  more at {MEMORY_TOKENS[1]:,} tokens", [many - few], "MiB"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="five rounds; memory at one vocabulary size")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--measure-memory", nargs=3, metavar=("FORM", "V", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure_memory:
        form, vocab_size, tokens = options.measure_memory
        return measure_memory(form, int(vocab_size), int(tokens))
    count = 5 if options.quick else options.rounds
    shown = {"tokens": TOKENS, "dim": DIM, "threads": options.threads, "rounds": count}
    kept = Report("Head loss: forward and backward, interleaved", shown)
    without = left_out()
    if without:
        kept.note("bfloat16 is slower than float32 on this processor, and left out")
    for vocab_size in VOCABULARIES:
        add_figures(kept, rounds(vocab_size, count, without), vocab_size)
        if not options.quick or vocab_size == VOCABULARIES[1]:
            add_memory(kept, vocab_size, without)
    kept.write(options.json)


if __name__ == "__main__":
    main()
