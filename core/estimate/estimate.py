"""Estimate of an experiment before it starts: tokens, FLOPs, seconds, memory.

The work follows from the protocol (`core.estimate.workload`), the speed from a short measurement on this machine
(`core.estimate.speed`). Importing this module does not import torch, so that a form shows sooner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import costs
from core.config.derived import dataset_settings
from core.config.run_config import RunConfig
from core.estimate.memory_check import require_memory, require_states
from core.estimate.workload import Pass, Sizes, Span, epochs, experiment_passes, memory, pass_flops
from core.exits import exit_method
from core.machine.processes import memory_now

if TYPE_CHECKING:
    from core.estimate.speed import Speed

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Estimate:
    """Estimate for all runs of an experiment together.

    Attributes:
        train_tokens, eval_tokens: tokens of the dataset's splits.
        epochs: epochs of each block.
        trained_tokens: tokens that blocks are trained on, summed over epochs.
        memory: bytes; on a CPU the largest resident size of this process, else the arrays on the device.
        speed: tokens a second of the first training; 0 where it is not known.
        states: bytes on the disk of a pretrained model's cached states.
    """

    runs: int
    train_tokens: int
    eval_tokens: int
    vocab_size: int
    parameters: int
    epochs: Span
    trained_tokens: Span
    flops: Span
    seconds: Span
    memory: int
    device: str
    speed: float = 0.0
    states: int = 0


def read_sizes(config: RunConfig) -> Sizes:
    """Load the config's dataset and return its sizes.

    Raises:
        UsageError: the text can't be read, or is too small.
    """
    from core.data.windows import load_dataset

    return Sizes.of(load_dataset(*dataset_settings(config)))


def estimate(
    configs: Sequence[RunConfig], sizes: Sizes, held: int = 0, should_stop: ShouldStop = lambda: False
) -> Estimate | None:
    """Measure this machine's speed for about half a second and estimate all runs of an experiment; None if stopped.

    Call it in a process that trains nothing (`core.estimate.process`): it changes torch's thread count, which the whole
    process shares.

    Args:
        configs: configs that differ in method and seed only.
        held: bytes that the process which will train holds already.

    Raises:
        UsageError: the device does not exist, or memory or disk are too small.
    """
    from core.estimate.speed import measure
    from core.protocol.resolve import resolve_all

    configs, _ = resolve_all(configs)
    require_memory(configs, sizes)
    require_states(configs[0], sizes)
    learning = [config for config in configs if exit_method(config.method).learns]
    speed = measure((learning or configs)[0], sizes.vocab_size, should_stop=should_stop)
    if speed is None:
        return None
    return add_up(configs, sizes, speed, max(held, memory_now()))  # torch is loaded by now


def add_up(configs: Sequence[RunConfig], sizes: Sizes, speed: "Speed", held: int) -> Estimate:
    """Estimate all runs together on a machine of that speed.

    Args:
        configs: resolved configs that differ in method and seed only.
        held: bytes that the process holds before it trains.
    """
    first, nothing = configs[0], Span(0, 0)
    passes = list(experiment_passes(configs, sizes))
    training = next((one for one in passes if one.trains and not one.classifier), None)
    return Estimate(
        runs=len(configs),
        train_tokens=sizes.train_windows * first.data.seq_len,
        eval_tokens=sizes.eval_windows * first.data.seq_len,
        vocab_size=sizes.vocab_size,
        parameters=costs.parameters(first.model, sizes.vocab_size),
        epochs=epochs(first),
        trained_tokens=sum((one.tokens for one in passes if one.trains and not one.classifier), nothing),
        flops=sum((pass_flops(one, first, sizes.vocab_size) for one in passes), nothing),
        seconds=sum((pass_seconds(one, speed) for one in passes), nothing),
        speed=_rate(training, speed) if training else 0.0,
        memory=memory(first, sizes) + (held if first.machine.device == "cpu" else 0),
        device=first.machine.device,
        states=_state_bytes(first, sizes),
    )


def _state_bytes(config: RunConfig, sizes: Sizes) -> int:
    if not config.model.pretrained:
        return 0
    from core.backbones.state_cache import cache_bytes

    return cache_bytes(sizes.train_windows * config.data.seq_len, config)


def pass_seconds(one: Pass, speed: "Speed") -> Span:
    """Return the seconds of a pass at that speed."""
    if one.classifier:
        return one.tokens * speed.classifier
    if one.trains:
        other_heads = (one.heads - len(one.blocks)) * costs.TRAINING * speed.head  # each block was timed with one head
        return one.tokens * max(0.0, sum(speed.training[layers] for layers in one.blocks) + other_heads)
    return one.tokens * (sum(speed.layers[layers] for layers in one.blocks) + one.heads * speed.head)


def _rate(one: Pass, speed: "Speed") -> float:
    """Return the tokens a second of a pass; 0 if it takes no time."""
    seconds = pass_seconds(one, speed).high
    return one.tokens.high / seconds if seconds else 0.0
