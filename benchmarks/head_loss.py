"""Head loss, forward and backward: ours, the plain form and torch's `linear_cross_entropy`, interleaved in one run.

    python benchmarks/head_loss.py --threads 2 --json FILE

Each round times a matrix product of 2048 × 2048 × 2048 in float32 and in bfloat16 (the machine's peak), then every
form. A line gives the median time over the rounds; the work of three products of tokens × dim × V in that time; the
median and the spread, round by round, of its share of the peak in its own number type and of its ratio to ours. Peak
memory is what the operating system counts of a fresh process that does nothing else, less what importing torch takes;
a process inherits the peak of the one that starts it, so memory is measured before anything else.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import linear_cross_entropy
from core.machine import peak_memory

TOKENS, DIM, PEAK_SIZE = 2048, 64, 2048
VOCABULARIES, QUICK_VOCABULARIES = (4096, 15_936, 69_830), (4096, 15_936)
MEMORY_TOKENS = (2048, 16_384)
MOST_LOGITS = 2**29
"""Whose memory is measured of forms that hold them all, several times over; more might not fit the machine."""
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
    return linear_cross_entropy(hidden, weight, targets, products=torch.bfloat16)[0]


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


def peak_seconds(dtype: torch.dtype) -> float:
    """Of one product, the best of three; operands are made anew so that no two rounds share a lucky address."""
    left, right = (torch.rand(PEAK_SIZE, PEAK_SIZE).to(dtype) for _ in range(2))
    found = []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(left, right)
        found.append(time.perf_counter() - began)
    return min(found)


def rounds(vocab_size: int, count: int) -> Times:
    """Seconds of everything, round by round, after a warm-up."""
    times: Times = {name: [] for name in (*PEAKS, *FORMS)}
    inputs = example(TOKENS, vocab_size)
    for _ in range(count + 1):
        for name, dtype in PEAKS.items():
            times[name].append(peak_seconds(dtype))
        for name, form in FORMS.items():
            times[name].append(loss_seconds(form, inputs))
    return {name: taken[1:] for name, taken in times.items()}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def figures(times: Times, vocab_size: int) -> dict[str, Any]:
    """What each form's times amount to, by name."""
    work = 3 * 2 * TOKENS * DIM * vocab_size
    found: dict[str, Any] = {}
    for name in FORMS:
        taken = times[name]
        peak = times["peak bfloat16" if "bfloat16" in name else "peak float32"]
        found[name] = {
            "seconds": statistics.median(taken),
            "gflops": work / statistics.median(taken) / 1e9,
            "share_of_peak": spread(
                [work / mine / (2 * PEAK_SIZE**3 / top) for mine, top in zip(taken, peak, strict=True)]
            ),
            "times_ours": spread([other / mine for other, mine in zip(taken, times["ours"], strict=True)]),
        }
    for name in PEAKS:
        found[name] = {"gflops": 2 * PEAK_SIZE**3 / statistics.median(times[name]) / 1e9}
    return found


def memory(form: str, vocab_size: int, tokens: int) -> int:
    """Peak resident bytes that one call takes in a process of its own, inputs and gradients included."""
    command = [sys.executable, __file__, "--measure-memory", form, str(vocab_size), str(tokens)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_memory(form: str, vocab_size: int, tokens: int) -> None:
    before = peak_memory()
    loss_seconds(FORMS[form], example(tokens, vocab_size))
    print(peak_memory() - before)


def print_figures(found: dict[str, Any], vocab_size: int) -> None:
    peaks = ", ".join(f"{name} {found[name]['gflops']:.0f} GFLOP/s" for name in PEAKS)
    print(f"V {vocab_size}: {peaks}")
    for name in FORMS:
        row, share, ratio = found[name], found[name]["share_of_peak"], found[name]["times_ours"]
        print(
            f"  {name:15} {row['seconds'] * 1e3:7.1f} ms {row['gflops']:6.1f} GFLOP/s  "
            f"{share['median']:4.0%} of peak [{share['low']:.0%}, {share['high']:.0%}]  "
            f"{ratio['median']:5.2f} × ours [{ratio['low']:.2f}, {ratio['high']:.2f}]",
            flush=True,
        )


def print_memory(vocab_size: int) -> dict[str, Any]:
    print(f"V {vocab_size}:")
    found = {
        name: {
            tokens: memory(name, vocab_size, tokens)
            for tokens in MEMORY_TOKENS
            if name.startswith("ours") or tokens * vocab_size <= MOST_LOGITS
        }
        for name in FORMS
    }
    for name, bytes_of in found.items():
        at = ", ".join(f"{size / 2**20:.0f} MiB at {tokens} tokens" for tokens, size in bytes_of.items())
        print(f"  {name:15} peak memory {at}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds, without the largest vocabulary")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--measure-memory", nargs=3, metavar=("FORM", "V", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure_memory:
        form, vocab_size, tokens = options.measure_memory
        return measure_memory(form, int(vocab_size), int(tokens))
    count = 3 if options.quick else options.rounds
    machine = {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": options.threads,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{TOKENS} tokens, dim {DIM}, {count} rounds after one warm-up\n")
    vocabularies = QUICK_VOCABULARIES if options.quick else VOCABULARIES
    peak_bytes = {str(vocab_size): print_memory(vocab_size) for vocab_size in vocabularies}
    results: dict[str, Any] = {}
    for vocab_size in vocabularies:
        found = results[str(vocab_size)] = figures(rounds(vocab_size, count), vocab_size)
        found["peak_bytes"] = peak_bytes[str(vocab_size)]
        print_figures(found, vocab_size)
    if options.json:
        content = {"machine": machine, "tokens": TOKENS, "dim": DIM, "rounds": count, "vocabularies": results}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
