"""Lossless speculation against plain decoding, in turns, and beside that of transformers on the same pretrained model.

    python -m benchmarks.speculation [--quick] [--model hf:PLACE] [--layers N …] [--corpus FILE] [--json FILE]

Without `--model` the blocks of preset `deep` are trained on a little text first: exits of random weights agree with the
last block far too often. With it, each of `--layers` is an exit with the model's own norm and head, as LayerSkip and
transformers' `generate(assistant_early_exit=…)` have it. Texts are greedy, so all sides write the same one, up to
rounding. A ratio above 1 is faster than plain decoding by the same code.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks._report import Report, figure
from benchmarks.price import carried_out
from core.analysis.speculative_text import PLAIN, seconds, sum_up, timed_turns
from core.analysis.text_generator import TextGenerator
from core.backbones.load import load_weights, read_dimensions
from core.config.derived import loss_shares
from core.config.run_config import PRETRAINED_PRESET, RunConfig, build, preset_layer, set_layer
from core.data.windows import Dataset, load_dataset
from core.early_exit.draft_length import Drafting
from core.early_exit.sampling import GenerationOptions
from core.machine.device import prepare
from core.model import Transformer, new_model
from core.pretrained.place import find
from core.protocol.build import build_model
from core.protocol.resolve import resolve
from core.protocol.train import first_data
from core.stages.lm import train_blocks

LENGTHS = (1, 2, 4, None)
"""Draft lengths; None: priced."""
Prompts = Sequence[Sequence[int]]


def name_of(drafting: Drafting, config: RunConfig) -> str:
    length = "priced" if drafting.length is None else f"{drafting.length} at a time"
    layers = config.model.block_layers
    return f"exit after layer {sum(layers[: drafting.block + 1])} of {sum(layers)}, {length}"


def prompts_of(dataset: Dataset, count: int, length: int) -> Prompts:
    windows = dataset.evaluation.inputs
    chosen = torch.linspace(0, len(windows) - 1, count).long()
    found: Prompts = windows[chosen, :length].tolist()
    return found


def against_plain(
    report: Report, generator: TextGenerator, prompts: Prompts, options: GenerationOptions, rounds: int
) -> None:
    """Report every exit and length against plain decoding."""
    seconds(generator, prompts[:1], PLAIN, options)  # warm-up
    plain = list[float]()
    for drafting in (Drafting(exit_, length) for exit_ in range(len(generator.model.blocks) - 1) for length in LENGTHS):
        turns = list(timed_turns(generator, prompts, drafting, options, rounds))
        plain += [options.max_tokens * len(prompts) / turn[0] for turn in turns]
        ratios = [plain_took / took for plain_took, took in turns]
        report.add(figure(name_of(drafting, generator.config), ratios, "×"))
        found = sum_up(generator, seconds(generator, prompts, drafting, options)[1], drafting)
        report.note(
            f"  {found.accepted} of {found.drafted} drafts accepted, {found.tokens_per_pass:.2f} tokens a pass, "
            f"{found.flops:.2f} times the FLOPs"
        )
    report.add(figure("plain decoding", plain, "tokens/s"))


def own_model(options: argparse.Namespace) -> tuple[TextGenerator, Dataset]:
    """Train the blocks of preset `deep`, without exits."""
    values = [f"num_samples={options.samples}", f"max_epochs={options.epochs}", "data.seq_len=128", "vocab_size=2048"]
    layers = [preset_layer("deep"), *map(set_layer, [*values, f"machine.threads={options.threads}"])]
    config = resolve(build([*layers, *([set_layer(f"corpus={options.corpus}")] if options.corpus else [])]))
    prepare(config)
    dataset = load_dataset(config.data, config.train.batch_size)
    model = new_model(config, dataset.vocabulary.size)
    data = first_data(model, dataset.train, config)
    carried_out(train_blocks(model, loss_shares(config), data.train, config, "joint.lm"), shown=True)
    return TextGenerator(0, "deep", config, model, (), dataset.vocabulary), dataset


def pretrained_model(options: argparse.Namespace) -> tuple[TextGenerator, Dataset]:
    """Load a pretrained model with exits after the layers asked for, as it is."""
    place = find(options.model)
    ends = [0, *options.layers, read_dimensions(place)[1].layers]
    values = [
        f"model.source={options.model}", f"block_layers={','.join(str(b - a) for a, b in pairwise(ends))}",
        "readout=final", "last_readout=false", "num_samples=16", "eval_ratio=1.0", "seq_len=128",
        f"machine.threads={options.threads}",
    ]  # fmt: skip
    layers = [preset_layer(PRETRAINED_PRESET), *map(set_layer, values)]
    config = resolve(build([*layers, *([set_layer(f"corpus={options.corpus}")] if options.corpus else [])]))
    prepare(config)
    dataset = load_dataset(config.data, config.train.batch_size, config.model.source)
    model: Transformer = build_model(config, dataset.vocabulary.size)
    return TextGenerator(0, options.model, config, model, (), dataset.vocabulary), dataset


def beside_transformers(
    report: Report, generator: TextGenerator, prompts: Prompts, options: GenerationOptions, rounds: int
) -> None:
    """Report both libraries' speculation at each exit, each against its own plain decoding, in the same rounds."""
    place, config = find(generator.config.model.source), generator.config
    theirs = load_weights(place, read_dimensions(place)[1], config.machine.dtype)
    for exit_ in range(len(generator.model.blocks) - 1):
        layer = sum(config.model.block_layers[: exit_ + 1])
        sides: dict[str, Callable[[], list[list[int]]]] = {
            "plain": lambda: _ours(generator, prompts, PLAIN, options),
            "ours": lambda exit_=exit_: _ours(generator, prompts, Drafting(exit_), options),
            "their plain": lambda: _theirs(theirs, prompts, options),
            "theirs": lambda layer=layer: _theirs(theirs, prompts, options, assistant_early_exit=layer),
        }
        took: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds + 1):
            texts = {}
            for name in sides if turn % 2 else reversed(sides):
                began = time.perf_counter()
                texts[name] = sides[name]()
                if turn:  # the first warms up
                    took[name].append(time.perf_counter() - began)
        alike = [sum(map(list.__eq__, texts[name], texts["plain"])) for name in ("ours", "theirs")]
        report.note(f"exit after layer {layer}: {alike} of {len(prompts)} texts are plain decoding's, ours and theirs")
        for name, first, second in (
            ("ours ÷ our plain", "plain", "ours"),
            ("transformers' ÷ their plain", "their plain", "theirs"),
            ("ours ÷ transformers'", "theirs", "ours"),
        ):
            ratios = [a / b for a, b in zip(took[first], took[second], strict=True)]
            report.add(figure(f"speculation after layer {layer}, {name}", ratios, "×"))
        speeds = {name: options.max_tokens * len(prompts) / fmean(values) for name, values in took.items()}
        report.note("  tokens/s: " + ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items()))


def _ours(
    generator: TextGenerator, prompts: Prompts, drafting: Drafting, options: GenerationOptions
) -> list[list[int]]:
    passes = [seconds(generator, [prompt], drafting, options)[1] for prompt in prompts]
    return [[token.token for one in text for token in one.tokens] for text in passes]


def _theirs(model: Any, prompts: Prompts, options: GenerationOptions, **how: Any) -> list[list[int]]:
    count, found = options.max_tokens, list[list[int]]()
    for prompt in prompts:
        ids = torch.tensor([prompt])
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            pad_token_id=0,
            **how,
        )
        found.append(written[0, len(prompt) :].tolist())
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32, help="tokens after each prompt of half a window")
    parser.add_argument("--samples", type=int, default=600, help="windows that our own model is trained on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--model", help="hf:PLACE")
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[], help="layers of the pretrained model to exit after"
    )
    parser.add_argument("--corpus")
    parser.add_argument("--quick", action="store_true", help="little training, three rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.samples, options.epochs = 3, 200, 1
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "quick")}
    report = Report("Speculation: speed as a multiple of plain decoding's", shown)
    generator, dataset = pretrained_model(options) if options.model else own_model(options)
    prompts = prompts_of(dataset, options.prompts, 64)
    greedy = GenerationOptions(options.tokens, temperature=0)
    if options.model:
        beside_transformers(report, generator, prompts, greedy, options.rounds)
    else:
        against_plain(report, generator, prompts, greedy, options.rounds)
    report.write(options.json)


if __name__ == "__main__":
    main()
