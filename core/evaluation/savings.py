"""What early exit saves of the cost of all blocks without exits: by FLOPs as the tokens left, and by the clock."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

from core.config.run_config import RunConfig
from core.costs import ExitCosts
from core.data.batches import reading_windows
from core.data.windows import Windows
from core.evaluation.timing import ROUNDS, TimeSavings, timed_rounds
from core.events import Event, Measured, Savings, Step
from core.exits import exit_method
from core.machine.clock import Clock
from core.model import Transformer


def rounds_to_time(thresholds: Sequence[float], config: RunConfig) -> int:
    """How often it is timed: not at all without exits, nor where a method knows the later blocks' losses."""
    return ROUNDS if thresholds and not exit_method(config.method).foresees else 0


def measure_savings(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    early: Measured,
    cost: ExitCosts,
    steps: range,
    clock: Clock,
) -> Generator[Event, None, None]:
    """FLOP savings, their break-even, and time savings, on the first windows; a timed round is a step.

    Args:
        early: early exit, as measured.
        cost: of it (`exit_costs`).
        steps: the rounds' numbers as steps of the stage.
    """
    saved = Savings(
        stage=early.stage,
        flops=cost.savings(early.exit_shares),
        break_even=cost.break_even_rate(early.exit_shares),
    )
    if steps:
        few = slice(reading_windows(config))
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


def exit_costs(words: int, config: RunConfig) -> ExitCosts:
    """What early exit costs a run with a vocabulary of so many words."""
    reads_head = exit_method(config.method).reads_head
    return ExitCosts(config.model, words, config.data.seq_len, reads_head, config.exit.exited_state)
