"""Speed-up of early exit, by the clock against what the FLOP savings promise, on a model of 8 layers.

    python -m benchmarks.early_exit --threads 1 [--quick] [--json FILE]

The weights are random, and so is the exit signal, so that the same share of the tokens leaves at each exit, whichever
they are. Both sides of a ratio are timed in turn on the same tokens; see `core.evaluation.timing`. A batch is the
training's: evaluation reads more windows at a time where that is small, and `--exactly` does not, for both sides.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from benchmarks._report import Figure, Report
from core.config.run_config import Layer, RunConfig, build
from core.data.windows import Windows
from core.early_exit.skipping import skipping_states
from core.evaluation.passes import Pass, early_exit
from core.evaluation.savings import exit_costs
from core.evaluation.timing import TimeSavings, time_savings
from core.model import Transformer, new_model
from core.stages import block_data as batches

BLOCK_LAYERS = (2, 2, 2, 2)
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)


def configs(options: argparse.Namespace) -> Iterator[RunConfig]:
    for dim, seq_len, batch_size in product(options.dim, options.seq_len, options.batch):
        yield build(
            [
                Layer(
                    "benchmark",
                    {
                        "method": "random", "exited_state": options.exited_state, "norm": options.norm,
                        "dim": dim, "ffn_dim": 4 * dim, "block_layers": BLOCK_LAYERS, "num_heads": 4,
                        "seq_len": seq_len, "batch_size": batch_size, "device": "cpu", "threads": options.threads,
                    },
                )
            ]
        )  # fmt: skip


def random_windows(config: RunConfig, options: argparse.Namespace) -> Windows:
    shape = (max(1, options.tokens // config.data.seq_len), config.data.seq_len)
    inputs, targets = (torch.randint(options.vocab, shape, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    return Windows(inputs, targets)


def promised(model: Transformer, thresholds: list[float], windows: Windows, config: RunConfig) -> float:
    """Speed-up by the FLOPs of the tokens as they do leave."""
    result = Pass.empty(windows.targets)
    early_exit(model, thresholds, windows, slice(0, len(windows.inputs)), result, config, states=skipping_states)
    shares = [float((result.left_at == block).double().mean()) for block in range(len(BLOCK_LAYERS))]
    cost = exit_costs(model.embedding.num_embeddings, config)
    return cost.full / cost.flops(shares)


def report(config: RunConfig, rate: float, promise: float, measured: TimeSavings) -> str:
    return (
        f"{config.model.dim:5} {config.data.seq_len:7} {config.train.batch_size:6} {rate:6.0%} {promise:9.2f} ×"
        f" {measured.speed_up:8.2f} × [{1 / measured.high:.2f}, {1 / measured.low:.2f}]"
        f" {measured.speed_up / promise:8.0%} {measured.savings / (1 - 1 / promise):8.0%}"
    )


def reached(config: RunConfig, rate: float, promise: float, measured: TimeSavings, *, exactly: bool) -> Figure:
    """The share of the promised speed-up, with the quartiles of the rounds."""
    batch = f"exactly {config.train.batch_size} at a time" if exactly else f"batch {config.train.batch_size}"
    name = f"dim {config.model.dim}, windows of {config.data.seq_len}, {batch}, {rate:.0%} leave at each exit"
    low, high = (100 / ratio / promise for ratio in (measured.high, measured.low))
    goal = None if exactly else 85
    return Figure(name, "%", 100 * measured.speed_up / promise, low, high, measured.rounds, least=goal)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=8192, help="of one pass")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--dim", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seq-len", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rate", type=float, nargs="+", default=RATES, help="share that leaves at each exit")
    parser.add_argument("--exited-state", choices=("copy", "drop"), default="copy")
    parser.add_argument("--norm", choices=("pre", "post"), default="pre")
    parser.add_argument("--quick", action="store_true", help="a few sizes and rates, three rounds")
    parser.add_argument("--exactly", action="store_true", help="read no more windows at a time than the batch has")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.dim, options.seq_len, options.rate = 3, [128], [32], [0.1, 0.5, 0.9]
    if options.exactly:
        batches.READ_TOKENS = 0
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "quick")}
    kept = Report("Early exit: speed-up by the clock against what FLOPs promise", shown)
    torch.set_num_threads(options.threads)
    print(f"blocks {BLOCK_LAYERS}, {options.vocab} words, {options.exited_state}, {options.norm}-norm, float32")
    print(f"{options.tokens} tokens a pass, {options.rounds} rounds after one warm-up; quartiles in brackets\n")
    print("  dim seq_len  batch   rate  promised   measured              speed-up  savings of the promise")
    for config in configs(options):
        model, windows = new_model(config, options.vocab), random_windows(config, options)
        for rate in options.rate:
            thresholds = [1 - rate] * (len(BLOCK_LAYERS) - 1)
            promise = promised(model, thresholds, windows, config)
            measured = time_savings(model, thresholds, windows, config, options.rounds)
            print(report(config, rate, promise, measured), flush=True)
            kept.figures.append(reached(config, rate, promise, measured, exactly=options.exactly))
    kept.write(options.json)


if __name__ == "__main__":
    main()
