"""What an imported run reports: its exits set, all ways through it measured, and its tokens, as a training does."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch

from core.analysis.given_costs import GivenCosts
from core.config.derived import sets_thresholds_by_price
from core.config.run_config import RunConfig
from core.costs import PricedCosts, as_shares, priced_costs
from core.evaluation.evaluate import judge
from core.evaluation.passes import Pass, measured, oracle
from core.events import (
    Event,
    PlannedStage,
    RunStarted,
    Savings,
    StageEnded,
    StageStarted,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.importing.tokens import ImportedTokens
from core.pricing.policy import Outcome, PricedTokens
from core.pricing.search import check_target
from core.pricing.thresholds import Integers, exits_off, left_at, where_left
from core.protocol.order import EVALUATION, PRICE, block_stage
from core.stages.hard_tokens import report_threshold
from core.stages.price import report_price


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one purpose, W of them.

    Attributes:
        loss, max_prob, prediction: `[K, W, T]`.
        signal: `[K - 1, W, T]`.
        targets: `[W, T]`.
    """

    loss: torch.Tensor
    signal: torch.Tensor
    max_prob: torch.Tensor
    prediction: torch.Tensor
    targets: torch.Tensor

    @staticmethod
    def of(tokens: ImportedTokens, windows: Integers) -> "Windows":
        """Return those windows of a file, by their numbers."""
        arrays = (tokens.loss, tokens.signal, tokens.max_prob, tokens.prediction)
        loss, signal, max_prob, prediction = (torch.from_numpy(each[:, windows]) for each in arrays)
        return Windows(loss, signal, max_prob, prediction, torch.from_numpy(tokens.targets[windows]))

    @property
    def exits(self) -> int:
        return len(self.loss)

    @property
    def correct(self) -> torch.Tensor:
        """Whether each prediction is its target, `[K, W, T]`."""
        return self.prediction == self.targets

    def left_at(self, thresholds: tuple[float, ...]) -> Integers:
        """Return the exit at which each token leaves, `[W · T]`."""
        return left_at(self.signal.flatten(1).numpy(), thresholds)

    def alone(self, block: int) -> Pass:
        """Return the pass on which every token leaves at this exit."""
        left = torch.tensor(block).expand(self.targets.shape)
        return Pass(self.loss[block].double(), self.correct[block], left)

    def leaving(self, thresholds: tuple[float, ...]) -> Pass:
        """Return the pass of early exit."""
        left = self.left_at(thresholds)
        loss, right = (where_left(each.flatten(1).numpy(), left) for each in (self.loss, self.correct))
        shape = self.targets.shape
        return Pass(
            torch.from_numpy(loss).double().view(shape),
            torch.from_numpy(right).view(shape),
            torch.from_numpy(left.astype(np.int64)).view(shape),
        )


@dataclass(frozen=True)
class Parts:
    """All that an imported run's events follow from.

    Attributes:
        calibration: windows that set the exits; None where they were set already.
        evaluation: windows that are evaluated.
        thresholds: as they were given; empty: they are to be set.
    """

    config: RunConfig
    vocab_size: int
    costs: GivenCosts
    calibration: Windows | None
    evaluation: Windows
    thresholds: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def to_set_exits(self) -> Windows:
        """Windows that exits are set on."""
        return self.calibration or self.evaluation

    @property
    def priced(self) -> bool:
        """Whether a price sets the exits."""
        return not self.thresholds and sets_thresholds_by_price(self.config)

    @property
    def paid(self) -> PricedCosts:
        """What a price is paid for."""
        if self.config.exit.cost == "flops":
            return as_shares(self.costs)
        return priced_costs(self.config, self.vocab_size, reads_head=False, learns=False, cost="layers")


def imported_events(parts: Parts) -> Iterator[Event]:
    """Yield the events of an imported run but the last.

    Raises:
        ConfigError: no thresholds save what is to be saved.
    """
    yield _started(parts)
    yield from map(Warned, parts.notes)
    if parts.calibration:
        yield from _calibration(parts.calibration, parts.config)
    promised = None
    if parts.priced:
        promised = yield from _price(parts)
    thresholds = yield from _set_exits(parts, promised.thresholds if promised else parts.thresholds)
    yield from _evaluation(parts, thresholds, promised)


def _started(parts: Parts) -> RunStarted:
    exits, held = parts.evaluation.exits, parts.calibration
    stages: list[PlannedStage] = [block_stage(block, "statistics") for block in range(exits) if held]
    stages += [PRICE] if parts.priced else []
    stages += [block_stage(block, "threshold") for block in range(exits - 1)]
    return RunStarted(
        stages=(*stages, EVALUATION),
        train_tokens=0 if held is None else held.targets.numel(),
        eval_tokens=parts.evaluation.targets.numel(),
        vocab_size=parts.vocab_size,
        block_layers=parts.config.model.block_layers,
        parameters=0,
    )


def _calibration(windows: Windows, config: RunConfig) -> Iterator[Event]:
    """Yield what each exit gives on the calibration windows."""
    for block in range(windows.exits):
        stage = block_stage(block, "statistics").name
        yield StageStarted(stage, "statistics", block, 1, 1, windows.targets.numel())
        found = measured(stage, "alone", windows.alone(block), config, block)
        yield replace(found, split="calibration")
        yield StageEnded(stage, 0.0)


def _price(parts: Parts) -> Generator[Event, None, Outcome]:
    """Find the price that sets all exits, and report it."""
    windows, exit_ = parts.to_set_exits, parts.config.exit
    if exit_.policy == "savings":
        check_target(exit_.savings, parts.paid, exit_.cost)
    loss, signal = windows.loss.flatten(1).double().numpy(), windows.signal.flatten(1).numpy()
    found = yield from report_price(PricedTokens(loss, signal, parts.paid, is_price=False), parts.config, PRICE.name)
    yield StageEnded(PRICE.name, 0.0)
    return found


def _set_exits(parts: Parts, thresholds: Sequence[float]) -> Generator[Event, None, tuple[float, ...]]:
    """Report the threshold of each exit, and return them.

    Args:
        thresholds: empty: they are quantiles of the signals.
    """
    signal, found = parts.to_set_exits.signal.flatten(1), list[float]()  # [E, n], those that arrive
    for block in range(len(signal)):
        stage, value = block_stage(block, "threshold").name, thresholds[block] if thresholds else None
        for event in report_threshold(block, signal[block], parts.config, stage, value=value):
            if isinstance(event, Threshold):
                event = event if parts.calibration else replace(event, split="eval")
                found.append(event.threshold)
            yield event
        signal = signal[:, signal[block] < found[-1]]
        yield StageEnded(stage, 0.0)
    return tuple(found)


def _evaluation(parts: Parts, thresholds: tuple[float, ...], promised: Outcome | None) -> Iterator[Event]:
    """Yield what all ways through the model give on the evaluation windows, and every token."""
    windows, config, stage = parts.evaluation, parts.config, EVALUATION.name
    yield StageStarted(stage, "evaluation", None, 1, 1, windows.targets.numel())
    cost = replace(parts.costs, off=exits_off(thresholds))
    static = [windows.alone(block) for block in range(windows.exits)]
    early = measured(stage, "early exit", windows.leaving(thresholds), config, cost=cost)
    depths = [measured(stage, "alone", depth, config, block) for block, depth in enumerate(static[:-1])]
    depths.append(measured(stage, "all blocks", static[-1], config))
    yield from (early, *depths, measured(stage, "oracle", oracle(static), config))
    saved = Savings(stage, fmean(early.window_flop_savings), cost.break_even_rate(early.exit_shares))
    yield saved
    yield from judge(early, depths, saved, config, promised)
    yield from (_tokens(windows, block) for block in range(windows.exits))
    yield StageEnded(stage, 0.0)


def _tokens(windows: Windows, block: int) -> TokensMeasured:
    signal = windows.signal[block].numpy().tobytes() if block < len(windows.signal) else b""
    columns = (windows.loss[block], windows.max_prob[block], windows.prediction[block])
    loss, max_prob, prediction = (each.numpy().tobytes() for each in columns)
    return TokensMeasured(block, loss, signal, max_prob, prediction)
