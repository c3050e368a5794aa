"""Training speed of this machine: a few steps of the real stages, on random tokens, with the config's dimensions."""

import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import torch

from core import costs
from core.config.run_config import RunConfig
from core.estimate.frozen_speed import time_frozen
from core.events import Event, Step
from core.exits import first_method
from core.head.loss import token_statistics
from core.machine.device import prepare
from core.model import Transformer, new_model
from core.rng import stream
from core.stages.block_data import BlockData, from_states, from_tokens
from core.stages.exit_classifier import fit_classifier
from core.stages.lm import train_block
from core.stages.statistics import block_output

SECONDS = 0.5
"""Duration of a measurement, unless two steps take longer."""
SHARE_FOR_TRAINING = 0.6
"""Share of that duration that goes to training steps."""
BATCHES = 2
"""Batches of random tokens, trained on over and over."""
STAGE = "measurement"
FOREVER = 10**9

Result = TypeVar("Result")
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Speed:
    """Seconds per token.

    Attributes:
        training: training step on a block and the head, by the block's number of layers.
        layers: forward pass through a block, by its number of layers.
        head: forward pass through the head.
        classifier: training step on an exit classifier; 0 where none is fitted.
    """

    training: dict[int, float]
    layers: dict[int, float]
    head: float
    classifier: float


class _StoppedError(Exception):
    """The measurement was stopped."""


def measure(
    config: RunConfig, vocab_size: int, seconds: float = SECONDS, should_stop: ShouldStop = lambda: False
) -> Speed | None:
    """Time the stages of a resolved config; None if `should_stop` returned true between two steps.

    The figures hold while the machine is as busy as it is now. The thread count is restored afterwards.
    """
    threads = torch.get_num_threads()
    try:
        if config.model.pretrained:
            return None if should_stop() else _measure_frozen(config, vocab_size)
        return _measure(config, vocab_size, seconds, should_stop)
    except _StoppedError:
        return None
    finally:
        torch.set_num_threads(threads)


def _measure(config: RunConfig, vocab_size: int, seconds: float, should_stop: ShouldStop) -> Speed:
    device = prepare(config)
    model = new_model(config, vocab_size).to(device)
    inputs, targets = (tokens.to(device) for tokens in _random_tokens(config, vocab_size))  # each [N, T]
    training, layers, classifier = {}, {}, 0.0
    head = _time_head(model, inputs[: config.train.batch_size], targets[: config.train.batch_size])
    config, blocks = _endless(config), {count: block for block, count in enumerate(config.model.block_layers)}
    budget = seconds / len(blocks)
    for count, block in blocks.items():
        data = _block_data(model, block, inputs, targets)
        training[count], _ = _watch(
            train_block(model, block, data, config, STAGE), SHARE_FOR_TRAINING * budget, should_stop
        )
        forward, output = _watch(block_output(model, block, data, config, STAGE), FOREVER, should_stop)
        layers[count] = max(forward - head, 0.0)
        method = first_method(config.method)
        if output is not None and not classifier and method.learns:
            fit = fit_classifier(model, block, output, method, config, STAGE)
            classifier, _ = _watch(fit, (1 - SHARE_FOR_TRAINING) / 2 * budget, should_stop)
    return Speed(training, layers, head, classifier)


def _measure_frozen(config: RunConfig, vocab_size: int) -> Speed:
    layer, head = time_frozen(config, vocab_size, prepare(config))
    # a fit sums the products of all pairs of a state's values in float64, which takes twice as long
    classifier = 2 * head * config.model.dim / vocab_size
    layers = {count: count * layer for count in set(config.model.block_layers)}
    training = {count: costs.TRAINING * (seconds + head) for count, seconds in layers.items()}
    return Speed(training, layers, head, classifier)


def _watch(
    stage: Generator[Event, None, Result], budget: float, should_stop: ShouldStop
) -> tuple[float, Result | None]:
    """Run a stage for `budget` seconds; return its median seconds per token, and its result if it has ended.

    The first step is left out of the median; at least one other step is taken.
    """
    rates: list[float] = []
    result: Result | None = None
    began = time.perf_counter()
    while len(rates) < 2 or time.perf_counter() - began < budget:
        try:
            event = next(stage)
        except StopIteration as end:
            result = end.value
            break
        if isinstance(event, Step):
            rates.append(event.seconds / event.tokens)
        if should_stop():
            raise _StoppedError
    return statistics.median(rates[1:] or rates), result


@torch.no_grad()
def _time_head(model: Transformer, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Time the second of two forward passes of a batch through the head; return seconds per token."""
    states, tokens, took = model.embedding(inputs).flatten(0, 1), targets.flatten(), 0.0  # [B · T, D], [B · T]
    for _ in range(2):
        began = time.perf_counter()
        float(token_statistics(states, model.head.weight, tokens).cross_entropy.sum())
        took = time.perf_counter() - began
    return took / len(tokens)


def _random_tokens(config: RunConfig, vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw inputs and targets `[N, T]` of enough windows for `BATCHES` full batches beside the early-stopping split."""
    ratio, wanted = _endless(config).train.val_ratio, BATCHES * config.train.batch_size
    windows = next(count for count in range(wanted, 3 * wanted) if count - max(1, int(count * ratio)) >= wanted)
    draw, shape = stream(config.seed, STAGE), (windows, config.data.seq_len)
    inputs, targets = (torch.randint(vocab_size, shape, generator=draw) for _ in range(2))
    return inputs, targets


def _block_data(model: Transformer, block: int, inputs: torch.Tensor, targets: torch.Tensor) -> BlockData:
    """Return the data of a block: tokens for block 0, else states of the right shape."""
    if block == 0:
        return from_tokens(model, inputs, targets)
    return from_states(model.embedding(inputs).detach(), targets)


def _endless(config: RunConfig) -> RunConfig:
    """Return the config with endless training, at a learning rate too small to diverge, with a small validation set."""
    endless = {"max_epochs": FOREVER, "patience": FOREVER, "lr": 1e-9, "val_ratio": 0.1}
    return config.model_copy(
        update={
            "train": config.train.model_copy(update=endless),
            "exit": config.exit.model_copy(update={"exit_epochs": FOREVER}),
        }
    )
