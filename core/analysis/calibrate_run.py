"""Thresholds for a finished run, with a promise about its perplexity: the function behind `eetui calibrate`.

It uses the statistics that the run's evaluation stored, so it loads no model and has no other tokens to test on. A
tenth of the evaluation windows sets the candidates, half of the others calibrate, and the rest test, so the
perplexities shown are those of parts of the evaluation split.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.analysis import guarantees
from core.analysis.calibration_request import CalibrationRequest
from core.analysis.candidates import Candidates, price_candidates, rate_candidates
from core.analysis.realised_savings import realised_savings
from core.analysis.risk_control import (
    ConformalRiskControl,
    LearnThenTest,
    UnitSplit,
    Violations,
    cap_for_bets,
    cap_for_mean,
    expected_violations,
    halves,
    neighbour_correlation,
    pieces,
    split_units,
    stakes,
    violation_rate,
)
from core.analysis.stored_run import StoredRun, exiting_tokens, paid_costs, run_costs, stored_run
from core.analysis.threshold_sweep import Sweep, sweep
from core.analysis.token_table import Floats, Integers, TokenTable
from core.costs import ExitCosts
from core.errors import UsageError
from core.formulas import bits_at, perplexity, ppl_change
from core.pricing.thresholds import quantile_thresholds, where_left
from core.store.reader import Reader

UNIT_WINDOWS = {"ltt": 1, "crc": 8, "exit rate": 1}
"""Default number of windows in a unit; larger units help conformal risk control, which suffers from noisy ones."""


@dataclass(frozen=True)
class Effect:
    """Effect of thresholds on some tokens.

    Attributes:
        ppl, all_blocks_ppl: PPL of early exit, and of the same tokens without exit.
        bits_per_byte, all_blocks_bits_per_byte: the same in bits, with as many bytes to a token as in the whole
            evaluation split; None for runs that did not count them.
        exit_shares: share of the tokens that leaves at each block.
        excess: loss above that of all blocks, nats.
        ppl_increase: increase of the PPL over that of all blocks, as a share of the latter.
    """

    ppl: float
    all_blocks_ppl: float
    exit_shares: tuple[float, ...]
    shallow_ratio: float
    layer_savings: float
    flop_savings: float
    excess: float
    ppl_increase: float
    bits_per_byte: float | None = None
    all_blocks_bits_per_byte: float | None = None


@dataclass(frozen=True)
class ThresholdChoice:
    """Thresholds and their promise.

    Attributes:
        thresholds: threshold of every exit; None: never exit.
        guarantee: the promise as a sentence.
        price: price that set the thresholds, nats for the cost of the whole model; None: an exit rate did.
        counted_at_most: cap on a unit's excess in the promise, nats.
        clipped: share of the calibration and test units whose excess is above the cap.
        violations, violations_in_pieces: violations over random halves of the units, and over halves that are one piece
            of the text each.
        violations_expected: rate of violations over random halves for a promise that holds exactly.
    """

    thresholds: tuple[float, ...] | None
    guarantee: str
    counted_at_most: float | None = None
    clipped: float | None = None
    violations: Violations | None = None
    violations_in_pieces: Violations | None = None
    violations_expected: float | None = None
    notes: tuple[str, ...] = ()
    price: float | None = None


@dataclass(frozen=True)
class Calibrated:
    """Thresholds chosen for a run, with their promise and their effect.

    Attributes:
        method: `ltt`, `crc` or `exit rate`.
        units: numbers of units, of `unit_windows` windows each, that set the candidates, calibrate, and test.
        calibration, test: effect of the thresholds on each half.
        own: effect of the run's own thresholds on the test half.
    """

    run: int
    name: str
    exit_method: str
    method: str
    request: CalibrationRequest
    unit_windows: int
    units: tuple[int, int, int]
    choice: ThresholdChoice
    calibration: Effect
    test: Effect
    own: Effect
    notes: tuple[str, ...]


def calibrate(reader: Reader, number: int, request: CalibrationRequest) -> Calibrated:
    """Choose thresholds for a run.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run has no token statistics, no exit or too few windows, or the request is not valid.
    """
    request.check()
    run = stored_run(reader, number)
    table = exiting_tokens(reader, run)
    method = request.method if request.exit_rate is None else "exit rate"
    parts = _parts(run, table, request.unit_windows or UNIT_WINDOWS[method], request.seed)
    if request.exit_rate is not None:
        choice = _by_exit_rate(parts, request.exit_rate)
    else:
        choice = _by_budget(parts, request, _candidates(parts, run, request))
    bytes_per_token = run.state.eval_bytes_per_token
    chosen, own = (run_costs(run, thresholds or ()) for thresholds in (choice.thresholds, run.thresholds))
    return Calibrated(
        run=number,
        name=run.name,
        exit_method=run.config.method_name,
        method=method,
        request=request,
        unit_windows=parts.unit_windows,
        units=(len(parts.split.aside), len(parts.split.calibration), len(parts.split.test)),
        choice=choice,
        calibration=_effect(parts.calibration, choice.thresholds, chosen, bytes_per_token),
        test=_effect(parts.test, choice.thresholds, chosen, bytes_per_token),
        own=_effect(parts.test, run.thresholds, own, bytes_per_token),
        notes=(*choice.notes, guarantees.EVALUATION_TOKENS, *_mismatch(run, table)),
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """A run's tokens, split by purpose."""

    table: TokenTable
    split: UnitSplit
    unit_windows: int

    @cached_property
    def aside(self) -> TokenTable:
        return self._of(self.split.aside)

    @cached_property
    def calibration(self) -> TokenTable:
        return self._of(self.split.calibration)

    @cached_property
    def test(self) -> TokenTable:
        return self._of(self.split.test)

    @cached_property
    def halves(self) -> TokenTable:
        """Both halves, in the order of the text."""
        return self._of(np.sort(np.concatenate([self.split.calibration, self.split.test])))

    @property
    def units(self) -> str:
        """The calibration units in words."""
        windows = "1 window" if self.unit_windows == 1 else f"{self.unit_windows} windows"
        return f"the {len(self.split.calibration):,} calibration units ({windows} of {self.table.seq_len} tokens each)"

    def sweep(self, table: TokenTable, grid: Floats) -> Sweep:
        return sweep(table, grid, self.unit_windows * table.seq_len)

    def _of(self, units: Integers) -> TokenTable:
        return self.table.of_windows((units[:, None] * self.unit_windows + np.arange(self.unit_windows)).ravel())


def _parts(run: StoredRun, table: TokenTable, unit_windows: int, seed: int) -> _Parts:
    units = table.windows // unit_windows
    if units < 3:
        raise UsageError(
            f"{run.name} has {table.windows} evaluation windows, {units} units of {unit_windows}: at least 3 "
            f"are needed; take fewer windows to a unit (--unit-windows), or evaluate on more text (data.eval_ratio)"
        )
    return _Parts(table, split_units(units, seed), unit_windows)


def _by_exit_rate(parts: _Parts, rate: float) -> ThresholdChoice:
    thresholds = quantile_thresholds(parts.calibration.signal, rate) if rate else None
    return ThresholdChoice(thresholds, guarantees.exit_rate(rate))


def _candidates(parts: _Parts, run: StoredRun, request: CalibrationRequest) -> Candidates:
    if request.over == "rate":
        return rate_candidates(parts.aside)
    costs = paid_costs(run, run.config.exit.cost)
    found = price_candidates(parts.aside, costs, is_price=run.method.claims == "price")
    if not len(found.thresholds):
        raise UsageError(
            f"at no price does a token of {run.name} leave early: by {run.config.exit.cost} its exits cost more than "
            f"they save; calibrate over the exit rate (--over rate)"
        )
    return found


def _by_budget(parts: _Parts, request: CalibrationRequest, candidates: Candidates) -> ThresholdChoice:
    assert request.max_ppl_increase is not None
    budget, units = math.log1p(request.max_ppl_increase), len(parts.split.calibration)
    grid = candidates.thresholds
    aside, calibrating, both = (parts.sweep(part, grid) for part in (parts.aside, parts.calibration, parts.halves))
    largest = (
        cap_for_mean(aside.excess, budget, units)
        if request.method == "crc"
        else cap_for_bets(aside.excess, budget, request.delta, units)
    )
    rule = _rule(request, budget, largest, aside.excess, units)
    at_random = violation_rate(rule, both, budget, halves(len(both.excess), request.resplits, request.seed))
    in_pieces = violation_rate(rule, both, budget, pieces(len(both.excess), request.resplits))
    expected = expected_violations(request.delta, units, len(parts.split.test)) if request.method == "ltt" else None
    chosen = rule.choose(rule.evidence(calibrating.excess).sum(axis=0), units)
    if chosen is None:
        why = guarantees.nothing_safe(request.method, budget, float(largest[0]), request.delta, units)
        return ThresholdChoice(None, guarantees.NEVER, None, None, at_random, in_pieces, expected, (why,))
    bound, price = float(largest[chosen]), candidates.price(chosen)
    clipped = float((both.excess[:, chosen] > bound).mean())
    in_order = parts.sweep(parts.table, grid[[chosen]]).excess[:, 0]
    return ThresholdChoice(
        thresholds=tuple(grid[chosen].tolist()),
        guarantee=guarantees.budget(request.method, request.max_ppl_increase, request.delta, bound, parts.units)
        + guarantees.at_price(price),
        counted_at_most=bound,
        clipped=clipped,
        violations=at_random,
        violations_in_pieces=in_pieces,
        violations_expected=expected,
        notes=(
            *guarantees.counted(clipped),
            *guarantees.other_text(in_pieces, budget, expected),
            *guarantees.alike(neighbour_correlation(in_order), len(in_order)),
        ),
        price=price,
    )


def _rule(
    request: CalibrationRequest, budget: float, largest: Floats, aside: Floats, units: int
) -> LearnThenTest | ConformalRiskControl:
    if request.method == "crc":
        return ConformalRiskControl(budget, largest)
    return LearnThenTest(budget, largest, request.delta, stakes(aside, budget, largest, request.delta, units))


def _effect(
    table: TokenTable, thresholds: Sequence[float] | None, cost: ExitCosts, bytes_per_token: float | None
) -> Effect:
    """Compute the effect of thresholds on those tokens; without any, no token exits early."""
    left_at = table.left_at(thresholds or ())
    shares, loss = table.exit_shares(left_at), float(table.mean_loss[-1])
    excess = _excess(table, left_at)
    layers, flops = realised_savings(left_at, table.seq_len, cost)
    return Effect(
        ppl=perplexity(loss + excess),
        all_blocks_ppl=perplexity(loss),
        exit_shares=tuple(shares.tolist()),
        shallow_ratio=sum(shares[:-1].tolist()),
        layer_savings=layers,
        flop_savings=flops if thresholds is not None else 0.0,
        excess=excess,
        ppl_increase=ppl_change(excess),
        bits_per_byte=bits_at(loss + excess, bytes_per_token),
        all_blocks_bits_per_byte=bits_at(loss, bytes_per_token),
    )


def _excess(table: TokenTable, left_at: Integers) -> float:
    """Return the mean loss above that of all blocks, nats."""
    return float(
        np.subtract(where_left(table.cross_entropy, left_at), table.cross_entropy[-1], dtype=np.float64).mean()
    )


def _mismatch(run: StoredRun, table: TokenTable) -> tuple[str, ...]:
    early, full = run.state.measure("early exit"), run.state.measure("all blocks")
    if not early or not full:
        return ()
    return guarantees.mismatch(early.loss - full.loss, _excess(table, table.left_at(run.thresholds)))
