"""What early exit saves of the cost of all blocks without exits: by FLOPs as the tokens left, and by the clock."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

from core import costs
from core.config import RunConfig
from core.data.windows import Windows
from core.events import Event, Measured, Savings, Step
from core.exits import exit_method
from core.model import Transformer
from core.profile import Clock
from core.timing import ROUNDS, TimeSavings, timed_rounds

TIMED_TOKENS = 4096
"""Of the evaluation split: enough to be timed in tens of milliseconds and more, few enough not to be waited for."""


def rounds_to_time(thresholds: Sequence[float], config: RunConfig) -> int:
    """How often it is timed: not at all without exits, nor where a method knows the later blocks' losses."""
    return ROUNDS if thresholds and not exit_method(config.method).foresees else 0


def measure_savings(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    early: Measured,
    steps: range,
    clock: Clock,
) -> Generator[Event, None, None]:
    """FLOP savings, their break-even, and time savings, on the first windows; a timed round is a step.

    Args:
        early: early exit, as measured.
        steps: the rounds' numbers as steps of the stage.
    """
    words = model.embedding.num_embeddings
    saved = Savings(
        stage=early.stage,
        flops=1 - flops_of(early, words, config) / costs.full_flops(config.model, words, config.data.seq_len),
        break_even=costs.break_even_rate(
            config.model,
            words,
            config.data.seq_len,
            early.exit_shares,
            reads_head=exit_method(config.method).reads_head,
            exited_state=config.exit.exited_state,
        ),
    )
    if steps:
        few = slice(max(1, TIMED_TOKENS // config.data.seq_len))
        tokens = windows.targets[few].numel()
        rounds = timed_rounds(model, thresholds, Windows(windows.inputs[few], windows.targets[few]), config, len(steps))
        ratios: list[float] = []
        for step in steps:
            began = time.perf_counter()
            with clock.part("timing"):
                ratios.append(next(rounds))
            yield Step(early.stage, 1, step, None, 2 * tokens, time.perf_counter() - began)
        time_savings = TimeSavings.of(ratios)
        saved = replace(
            saved,
            time=time_savings.savings,
            time_low=1 - time_savings.high,
            time_high=1 - time_savings.low,
            tokens=tokens,
            rounds=time_savings.rounds,
        )
    yield saved


def flops_of(early: Measured, words: int, config: RunConfig) -> float:
    """FLOPs of early exit a token, as its tokens left; of all blocks where there are no exits."""
    if config.protocol == "full_depth" or len(config.model.block_layers) == 1:
        return costs.full_flops(config.model, words, config.data.seq_len)
    return costs.early_exit_flops(
        config.model,
        words,
        config.data.seq_len,
        early.exit_shares,
        reads_head=exit_method(config.method).reads_head,
        exited_state=config.exit.exited_state,
    )
