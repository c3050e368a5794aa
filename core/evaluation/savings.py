"""Savings of early exit against all blocks without exits: in FLOPs, from the exit shares, and in measured time."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from statistics import fmean

from core import costs
from core.config.run_config import RunConfig
from core.costs import ExitCosts
from core.data.batches import reading_windows
from core.data.windows import Windows
from core.evaluation.timing import MOST_ROUNDS, enough, timed_rounds
from core.events import Event, Measured, Savings, Step
from core.exits import exit_method
from core.intervals import of_median
from core.machine.clock import Clock
from core.machine.cores import read_usage
from core.machine.pace import kept_busy
from core.model import Transformer
from core.pricing.thresholds import exits_off


def rounds_to_time(thresholds: Sequence[float], config: RunConfig) -> int:
    """Return the most timed rounds: 0 without exits, and for a method that reads the later blocks' losses."""
    return MOST_ROUNDS if thresholds and not exit_method(config.method).foresees else 0


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
    """Compute FLOP savings and their break-even, time the first windows, and yield the savings.

    Args:
        early: result of early exit, with the FLOP savings of each window.
        cost: costs of early exit (`exit_costs`).
        steps: step numbers of the timed rounds, a step each, of which not all may be needed; empty: no time savings.
    """
    saved = Savings(
        stage=early.stage,
        flops=fmean(early.window_flop_savings),
        break_even=cost.break_even_rate(early.exit_shares),
    )
    if steps:
        few = slice(reading_windows(config))
        tokens = windows.targets[few].numel()
        rounds = timed_rounds(model, thresholds, Windows(windows.inputs[few], windows.targets[few]), config, len(steps))
        ratios, spent, before = list[float](), 0.0, read_usage()
        for step in steps:
            began = time.perf_counter()
            with clock.part("timing"):
                ratios.append(next(rounds))
            took = time.perf_counter() - began
            yield Step(early.stage, 1, step, None, 2 * tokens, took)
            spent += took
            if enough(ratios, spent):
                break
        busy = kept_busy(before, read_usage(), config.machine.threads)
        saved = with_time(saved, ratios, tokens, busy)
    yield saved


def with_time(saved: Savings, ratios: Sequence[float], tokens: int, busy: str = "") -> Savings:
    """Add the time savings: median over rounds of seconds of early exit ÷ all blocks, with its 95% interval."""
    found = of_median(ratios)
    assert found is not None, "a run has enough rounds for an interval"
    return replace(
        saved,
        time=1 - found.mean,
        time_low=1 - found.high,
        time_high=1 - found.low,
        tokens=tokens,
        rounds=len(ratios),
        covers=True,
        busy=busy,
    )


def exit_costs(vocab_size: int, config: RunConfig, thresholds: Sequence[float] = ()) -> ExitCosts:
    """Return the costs of early exit in a run; exits that no signal reaches at these thresholds are off."""
    method = exit_method(config.method)
    cost = costs.exit_costs(config, vocab_size, reads_head=method.reads_head, learns=method.learns)
    return replace(cost, off=exits_off(thresholds))
