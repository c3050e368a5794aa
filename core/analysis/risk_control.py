"""Risk control: thresholds chosen on some windows of a text, with a promise about the others.

The risk of a unit is its excess loss, that is its mean loss at early exit minus that of all blocks in nats per token,
up to a cap (`largest_excess`). A unit is a window or several neighbouring ones. The promises need exchangeable units,
and neighbouring windows of a text are correlated, so units of one window promise a little too much where the text
changes its subject.

    LearnThenTest           P(risk <= budget) >= 1 - delta over the choice of calibration units
    ConformalRiskControl    E[risk] <= budget over the choice of calibration units and of the unit to come

Both choose from candidates: sets of thresholds from the fewest exits to the most (`core.analysis.threshold_sweep`).
These must not be made from the calibration units: set a few units aside for that. Neither chooses a candidate if none
is safe; then no token may exit early, which is within any budget that is not negative. Schuster et al. 2022, "Confident
Adaptive Language Modeling", and Jazbec et al. 2024, "Fast yet Safe: Early-Exiting with Risk Control", apply them to
early exit.

Shapes: U units, J candidates, K blocks, R resplits.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from core.analysis.threshold_sweep import Sweep
from core.analysis.token_table import Floats, Integers

BOLDEST = 0.75
"""Largest share of the capital that a bet can lose on one unit (Waudby-Smith and Ramdas 2024 take 1/2 or 3/4)."""
SMALLEST_BOUND = 0.01
"""Smallest cap on a unit's excess loss, nats."""
CAP_COST = 0.1
"""Share of the evidence, or of the budget, that a cap may cost: the higher the cap, the more is promised."""
ASIDE = 20
"""Number of units set aside if that is at most a quarter of them."""


class Rule(Protocol):
    """A rule that chooses a candidate; the evidence of units is summed, so many splits of units cost one matmul."""

    def evidence(self, excess: Floats) -> Floats:
        """Compute each unit's evidence about each candidate, `[U, J]`, from its excess loss in nats, `[U, J]`."""

    def choose(self, evidence: Floats, units: int) -> int | None:
        """Choose the safe candidate with the most exits from the units' summed evidence `[J]`; None: never exit."""


@dataclass(frozen=True, eq=False)
class LearnThenTest:
    """Learn then Test: a candidate is safe if the units refute that its risk is above the budget.

    The method is that of Angelopoulos et al. 2021, "Learn then Test". Candidates are tested from the fewest exits on,
    each at the full level `delta`, up to the first that is not refuted. This is fixed-sequence testing (in their part
    on multiple testing). It needs no correction, because the sequence is fixed beforehand.

    The p-value is that of a bet (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
    betting", section 4). If the mean risk were above the budget, the capital `Π (1 + bet · (budget − risk))` would have
    a mean of at most 1, so by Markov's inequality it would reach `1/p` with probability at most p. The bet assumes only
    that the risk is bounded above, and adapts to its variance.

    Attributes:
        budget: largest acceptable risk, nats.
        largest: cap on a unit's excess loss for each candidate, nats, never falling, `[J]`.
        delta: probability with which the promise may be broken.
        bets: stake on each candidate per nat, `[J]` (`stakes`).
    """

    budget: float
    largest: Floats
    delta: float
    bets: Floats

    def evidence(self, excess: Floats) -> Floats:
        """Return the logarithm of the factor by which each unit multiplies the capital, `[U, J]`."""
        factors: Floats = np.log1p(self.bets * (self.budget - np.minimum(excess, self.largest)))
        return factors

    def p_values(self, evidence: Floats) -> Floats:
        """Return the p-values of the hypotheses that the risk is above the budget, `[J]`."""
        p_values: Floats = np.exp(-np.maximum(evidence, 0))
        return p_values

    def choose(self, evidence: Floats, units: int) -> int | None:
        refuted = self.p_values(evidence) <= self.delta  # [J]
        passed = len(refuted) if refuted.all() else int(refuted.argmin())
        return passed - 1 if passed else None


def stakes(aside: Floats, budget: float, largest: Floats, delta: float, units: int) -> Floats:
    """Compute the bets of `LearnThenTest` on that many units, from the excess of A units set aside: `[A, J]` to `[J]`.

    A bet is `sqrt(2 ln(1/delta) / (units · variance))`, and at most `BOLDEST` of the bet that can lose the whole
    capital on one unit (Waudby-Smith and Ramdas 2024, section 3.2, with a variance known beforehand). Any bet keeps the
    promise; a bad one finds fewer candidates safe.

    Raises:
        ValueError: `largest` is not above the budget, so a bet could lose nothing.
    """
    if (largest <= budget).any():
        raise ValueError(f"the largest excess must be above the budget of {budget} nats, got {largest.min()}")
    ruinous = 1 / (largest - budget)  # [J]
    variance = np.minimum(aside, largest).var(axis=0)  # [J]
    with np.errstate(divide="ignore"):
        best: Floats = np.sqrt(2 * math.log(1 / delta) / (units * variance))
    return np.minimum(best, BOLDEST * ruinous)


def fewest_units(budget: float, largest: float, delta: float) -> int | None:
    """Return the fewest units with which `LearnThenTest` finds a candidate of excess 0 safe; None: none will do."""
    if budget <= 0:
        return None
    return math.ceil(math.log(1 / delta) / math.log1p(BOLDEST * budget / (largest - budget)))


@dataclass(frozen=True)
class ConformalRiskControl:
    """Conformal risk control: a candidate is safe if the mean risk, with one unit at the cap added, is within budget.

    The condition is `(n · mean + largest) / (n + 1) <= budget` (Angelopoulos et al. 2024, "Conformal Risk Control",
    section 2). Their cap is the same for all candidates; their proof also holds for one that never falls.

    The risk must not fall as more tokens exit. But a later block can predict a token worse, so a unit's risk is
    replaced by its largest over all candidates with no more exits, including never exiting (0), as they do for general
    loss functions. With noisy units this costs much; units of several windows are less noisy.

    Attributes:
        budget, largest: as in `LearnThenTest`.
    """

    budget: float
    largest: Floats

    def evidence(self, excess: Floats) -> Floats:
        """Return each unit's monotone risk, `[U, J]`."""
        return np.maximum.accumulate(np.clip(excess, 0, self.largest), axis=1)

    def choose(self, evidence: Floats, units: int) -> int | None:
        safe = (evidence + self.largest) / (units + 1) <= self.budget  # [J]
        passed = int(safe.sum())
        return passed - 1 if passed else None


def largest_excess(aside: Floats, budget: float) -> Floats:
    """Compute the cap on a unit's excess loss for each candidate, `[J]`.

    It is twice the largest excess of the units set aside, at that candidate or one with fewer exits, and at least twice
    the budget. Any cap is valid that does not depend on the calibration units. A small one finds more candidates safe,
    but the promise is about the capped excess.

    Args:
        aside: excess of the units set aside in nats, `[A, J]`.
    """
    seen: Floats = np.maximum.accumulate(aside.max(axis=0))  # [J]
    return np.maximum(2 * seen, max(2 * abs(budget), SMALLEST_BOUND))


def cap_for_bets(aside: Floats, budget: float, delta: float, units: int) -> Floats:
    """Compute the cap on a unit's excess loss for `LearnThenTest`, `[J]`: as high as costs little.

    At the share f of its best, a bet gathers `2f − f²` of the evidence. The cap is the one under which the boldest bet
    is such a share that `CAP_COST` of the evidence is lost, and at least `largest_excess`.

    Args:
        aside: excess of the units set aside in nats, `[A, J]`.
        units: number of calibration units.
    """
    least = largest_excess(aside, budget)
    deviation = np.minimum(aside, least).std(axis=0)  # [J]
    share = 1 - math.sqrt(CAP_COST)
    free = budget + BOLDEST * deviation * math.sqrt(units / (2 * math.log(1 / delta))) / share
    cap: Floats = np.maximum.accumulate(np.maximum(least, free))
    return cap


def cap_for_mean(aside: Floats, budget: float, units: int) -> Floats:
    """Compute the cap for `ConformalRiskControl`, `[J]`: one unit at it costs `CAP_COST` of the budget, or more where
    `largest_excess` is higher.
    """
    return np.maximum(largest_excess(aside, budget), CAP_COST * budget * (units + 1))


@dataclass(frozen=True, eq=False)
class UnitSplit:
    """Units by purpose: a few set the candidates and the bets, half of the others calibrate, the rest test."""

    aside: Integers
    calibration: Integers
    test: Integers


def split_units(units: int, seed: int) -> UnitSplit:
    """Split units at random by purpose; a tenth is set aside, or 20 if that is more and at most a quarter.

    Raises:
        ValueError: there are fewer than 3 units.
    """
    if units < 3:
        raise ValueError(f"at least 3 units are needed, got {units}")
    order = np.random.default_rng(seed).permutation(units)
    aside = max(1, units // 10, min(ASIDE, units // 4))
    half = aside + (units - aside) // 2
    return UnitSplit(np.sort(order[:aside]), np.sort(order[aside:half]), np.sort(order[half:]))


def neighbour_correlation(excess: Floats) -> float:
    """Return the correlation of each unit's excess `[U]` with that of the next unit in the text; 0 if constant."""
    here, following = excess[:-1] - excess[:-1].mean(), excess[1:] - excess[1:].mean()
    spread = float(np.sqrt((here @ here) * (following @ following)))
    return float(here @ following) / spread if spread else 0.0


@dataclass(frozen=True)
class Violations:
    """Results of a rule over many splits of the units into a calibration half and a test half.

    Attributes:
        resplits: number of splits, R.
        rate: share of the splits in which the test half's mean excess is above the budget.
        never: share of the splits in which no candidate is safe.
        mean_excess: mean over all test halves, nats.
        shares: mean share of the tokens that leaves at each block, `[K]`.
    """

    resplits: int
    rate: float
    never: float
    mean_excess: float
    shares: tuple[float, ...]


def violation_rate(rule: Rule, units: Sweep, budget: float, calibrating: Floats) -> Violations:
    """Apply a rule to many splits of the units, and compare each test half with the budget.

    A test half is itself a sample: its mean deviates from the risk that the promise is about (`expected_violations`).

    Args:
        units: sweep of units that did not set the candidates; the test halves' excess is not capped.
        calibrating: 1 for each unit that calibrates, 0 for each that tests, `[R, U]`: `halves`, or `pieces`.
    """
    resplits, count = calibrating.shape
    evidence = calibrating @ rule.evidence(units.excess)  # [R, J]
    size = count // 2
    chosen = [rule.choose(each, size) for each in evidence]
    testing = (1 - calibrating) / (count - size)  # weights of the test half's mean, [R, U]
    excess, shares = np.zeros(resplits), np.zeros((resplits, units.shares.shape[2]))  # [R], [R, K]
    shares[:, -1] = 1
    for resplit, candidate in enumerate(chosen):
        if candidate is not None:
            excess[resplit] = testing[resplit] @ units.excess[:, candidate]
            shares[resplit] = testing[resplit] @ units.shares[:, candidate]
    return Violations(
        resplits=resplits,
        rate=float((excess > budget).mean()),
        never=chosen.count(None) / resplits,
        mean_excess=float(excess.mean()),
        shares=tuple(shares.mean(axis=0).tolist()),
    )


def halves(units: int, resplits: int, seed: int) -> Floats:
    """Draw random halves, `[R, U]`: 1 for each unit that calibrates (half of them, rounded down), 0 for the others."""
    places = np.random.default_rng(seed).random((resplits, units)).argsort(axis=1)  # [R, U]
    return (places < units // 2).astype(np.float64)


def pieces(units: int, resplits: int) -> Floats:
    """Return halves as in `halves`, each one piece of the text, with the text's end joined to its beginning, `[R, U]`.

    If a rule does worse on these than on random halves, the text changes its subject over many units, so a promise that
    holds on one part of it may not hold on the next. Units are in the order of the text.
    """
    starts = np.arange(resplits) * units // resplits  # [R]
    places = (np.arange(units) - starts[:, None]) % units  # [R, U]
    return (places < units // 2).astype(np.float64)


def expected_violations(delta: float, calibration: int, test: int) -> float:
    """Return the rate at which test means are above the budget if the promise holds exactly.

    With normal means the calibration mean lies `z(delta)` of its standard errors below the budget. The test mean
    differs from it by the errors of both samples, so the rate is `Φ(z(delta) / sqrt(1 + calibration/test))`.

    Args:
        calibration, test: numbers of units.
    """
    normal = NormalDist()
    return normal.cdf(normal.inv_cdf(delta) / math.sqrt(1 + calibration / test))
