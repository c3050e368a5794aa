"""Plain generation of a pretrained model, tokens a second: ours against transformers' own, in turns.

A part of `benchmarks.pretrained`: greedy, without exits, from prompts of the run's corpus. Both hold weights of their
own, as ours changes the attention of its layers.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._report import Report, figure
from core.backbones.load import load_weights, read_dimensions
from core.config.run_config import RunConfig
from core.data.windows import load_dataset
from core.early_exit.generation import generate
from core.early_exit.sampling import GenerationOptions
from core.machine.device import prepare
from core.model import Transformer
from core.pretrained.place import find
from core.protocol.build import build_model
from core.protocol.resolve import resolve

ROUNDS, PROMPT, TOKENS = 7, 32, 64
PLAIN = ("readout=final", "last_readout=false", "num_samples=16", "eval_ratio=1.0")
"""What makes a config that of the model as it is."""
Continue = Callable[[list[int]], list[int]]


def compare_generation(report: Report, config: RunConfig) -> None:
    """Continue prompts by turns, and report tokens a second and their ratio."""
    config = resolve(config)
    prepare(config)
    dataset = load_dataset(config.data, config.train.batch_size, config.model.source)
    prompts = dataset.evaluation.inputs[: ROUNDS + 1, :PROMPT].tolist()
    model = build_model(config, dataset.vocabulary.size)
    place = find(config.model.source)
    theirs = load_weights(place, read_dimensions(place)[1], config.machine.dtype)
    sides: dict[str, Continue] = {
        "ours": lambda prompt: _ours(model, config, prompt),
        "transformers": lambda prompt: _theirs(theirs, prompt),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    alike = 0
    for number, prompt in enumerate(prompts):
        texts = []
        for name in sides if number % 2 else reversed(sides):
            began = time.perf_counter()
            texts.append(sides[name](prompt))
            if number:  # the first warms up
                rates[name].append(TOKENS / (time.perf_counter() - began))
        alike += texts[0] == texts[1]
    for name, values in rates.items():
        report.add(figure(f"plain generation, {name}", values, "tokens/s"))
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["transformers"], strict=True)]
    report.add(figure("plain generation, ours ÷ transformers'", ratios, "×", least=1.0))
    report.note(f"{TOKENS} tokens after {PROMPT}; {alike} of {len(prompts)} texts are the same")


def _ours(model: Transformer, config: RunConfig, prompt: list[int]) -> list[int]:
    options = GenerationOptions(max_tokens=TOKENS, temperature=0.0)
    return [found.token for found in generate(model, (), config, prompt, options)]


@torch.no_grad()
def _theirs(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    found: Tensor = model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False
    )
    new: list[int] = found[0, PROMPT:].tolist()
    return new
