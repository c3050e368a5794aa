"""Thresholds that hold: chosen on some windows of a text, with a promise about the others.

The risk of a unit is its mean loss at early exit minus that of all blocks, in nats per token, counted as at most a
stated number of nats (`largest_excess`). A unit is a window or several neighbouring ones; the promises need
exchangeable units, and neighbouring windows of a text are alike, so units of one window promise a little too much
where the text changes its subject.

    LearnThenTest           P(risk <= budget) >= 1 - delta over the choice of calibration units
    ConformalRiskControl    E[risk] <= budget over the choice of calibration units and of the unit to come

Both choose from candidates, sets of thresholds from the fewest exits to the most (`core.analysis.threshold_sweep`),
which must not be made from the calibration units themselves: set a few units aside for that. Neither chooses any
candidate where none is safe; then no token may leave early, which is within any budget that is not negative. Early
exit was put under them by
Schuster et al. 2022, "Confident Adaptive Language Modeling", and Jazbec et al. 2024, "Fast yet Safe: Early-Exiting with
Risk Control".

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
"""Most of the capital put on one unit, so that no single one can ruin a bet (Waudby-Smith and Ramdas 2024 take 1/2 or
3/4)."""
SMALLEST_BOUND = 0.01
"""Nats."""
ASIDE = 20
"""Units that are worth setting aside where there are few."""


class Rule(Protocol):
    """How candidates are chosen. What units tell adds up, so that many choices of units cost one matrix product."""

    def evidence(self, excess: Floats) -> Floats:
        """What each unit tells of each candidate, `[U, J]`, from its excess loss in nats, `[U, J]`."""

    def choose(self, evidence: Floats, units: int) -> int | None:
        """The candidate of most exits that is safe, from the units' summed evidence `[J]`; None: never exit."""


@dataclass(frozen=True, eq=False)
class LearnThenTest:
    """A threshold is safe once the units refute that its risk is above the budget (Angelopoulos et al. 2021, "Learn
    then Test").

    Thresholds are tested from the fewest exits on, each at the full level `delta`, up to the first that is not
    refuted: fixed-sequence testing (in their part on multiple testing), which needs no correction, as the sequence is
    fixed beforehand.

    The p-value is that of a bet (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
    betting", section 4): were the mean risk above the budget, the capital `Π (1 + bet · (budget − risk))` would have a
    mean of at most 1, so by Markov's inequality it reaches `1/p` with probability p at most. It takes the risk to be
    bounded above only, and adapts to its variance.

    Attributes:
        budget: nats.
        largest: what a unit's excess is counted as at most, nats, `[J]`, never falling.
        delta: probability with which the promise may be broken.
        bets: stake on each candidate per nat, `[J]` (`stakes`).
    """

    budget: float
    largest: Floats
    delta: float
    bets: Floats

    def evidence(self, excess: Floats) -> Floats:
        """Logarithm of what each unit multiplies the capital by."""
        factors: Floats = np.log1p(self.bets * (self.budget - np.minimum(excess, self.largest)))
        return factors

    def p_values(self, evidence: Floats) -> Floats:
        """Of "the risk is above the budget", `[J]`."""
        p_values: Floats = np.exp(-np.maximum(evidence, 0))
        return p_values

    def choose(self, evidence: Floats, units: int) -> int | None:
        refuted = self.p_values(evidence) <= self.delta
        passed = len(refuted) if refuted.all() else int(refuted.argmin())
        return passed - 1 if passed else None


def stakes(aside: Floats, budget: float, largest: Floats, delta: float, units: int) -> Floats:
    """The bets that `LearnThenTest` makes on that many units, from the excess of units set aside, `[A, J]` to `[J]`.

    `sqrt(2 ln(1/delta) / (units · variance))`, at most `BOLDEST` of what ruins (Waudby-Smith and Ramdas 2024, section
    3.2, with a variance known beforehand). Any bet keeps the promise; a bad one finds fewer thresholds safe.

    Raises:
        ValueError: `largest` is not above the budget, so that there is nothing to lose.
    """
    if (largest <= budget).any():
        raise ValueError(f"the largest excess must be above the budget of {budget} nats, got {largest.min()}")
    ruinous = 1 / (largest - budget)
    variance = np.minimum(aside, largest).var(axis=0)
    with np.errstate(divide="ignore"):
        best: Floats = np.sqrt(2 * math.log(1 / delta) / (units * variance))
    return np.minimum(best, BOLDEST * ruinous)


def fewest_units(budget: float, largest: float, delta: float) -> int | None:
    """Units that `LearnThenTest` needs for a candidate at least, were their excess all 0; None: no number is enough."""
    if budget <= 0:
        return None
    return math.ceil(math.log(1 / delta) / math.log1p(BOLDEST * budget / (largest - budget)))


@dataclass(frozen=True)
class ConformalRiskControl:
    """A threshold is safe while the mean risk, with one more unit of the worst kind, is within the budget
    (Angelopoulos et al. 2024, "Conformal Risk Control", section 2): `(n · mean + largest) / (n + 1) <= budget`. Their
    bound is one for all candidates; one that never falls serves their proof as well.

    That needs a risk that never falls as more tokens exit. Going on can make a token worse, so a unit's risk is
    replaced by its largest at any candidate of no more exits, never exiting (0) among them (as they do for general loss
    functions). With noisy units that costs much: units of several windows are less noisy.

    Attributes:
        budget, largest: as in `LearnThenTest`.
    """

    budget: float
    largest: Floats

    def evidence(self, excess: Floats) -> Floats:
        """The monotone risk."""
        return np.maximum.accumulate(np.clip(excess, 0, self.largest), axis=1)

    def choose(self, evidence: Floats, units: int) -> int | None:
        safe = (evidence + self.largest) / (units + 1) <= self.budget
        passed = int(safe.sum())
        return passed - 1 if passed else None


def largest_excess(aside: Floats, budget: float) -> Floats:
    """What a unit's excess is counted as at most at each candidate: twice the largest of the units set aside there or
    at fewer exits, and at least twice the budget, `[J]`.

    Any numbers will do that are not taken from the calibration units; small ones find more thresholds safe, but the
    promise is about the excess so counted.

    Args:
        aside: nats, `[A, J]`.
    """
    seen: Floats = np.maximum.accumulate(aside.max(axis=0))
    return np.maximum(2 * seen, max(2 * abs(budget), SMALLEST_BOUND))


@dataclass(frozen=True, eq=False)
class UnitSplit:
    """Which units do what: a few set the candidates and the bets, the others are halved."""

    aside: Integers
    calibration: Integers
    test: Integers


def split_units(units: int, seed: int) -> UnitSplit:
    """Draw the units for each purpose; set aside are a tenth, or 20 if a quarter is as many.

    Raises:
        ValueError: there are fewer than 3.
    """
    if units < 3:
        raise ValueError(f"at least 3 units are needed, got {units}")
    order = np.random.default_rng(seed).permutation(units)
    aside = max(1, units // 10, min(ASIDE, units // 4))
    half = aside + (units - aside) // 2
    return UnitSplit(np.sort(order[:aside]), np.sort(order[aside:half]), np.sort(order[half:]))


def neighbour_correlation(excess: Floats) -> float:
    """Correlation of each unit's excess with that of the next unit in the text, `[U]`; 0 where none varies."""
    here, following = excess[:-1] - excess[:-1].mean(), excess[1:] - excess[1:].mean()
    spread = float(np.sqrt((here @ here) * (following @ following)))
    return float(here @ following) / spread if spread else 0.0


@dataclass(frozen=True)
class Violations:
    """How a rule fares when the units are halved anew, over and over: one half calibrates, the other tests.

    Attributes:
        resplits: R.
        rate: share of them in which the test half's mean excess is above the budget.
        never: share of them in which no threshold is safe.
        mean_excess: nats, over all test halves.
        shares: mean share of the tokens that leaves at each block, `[K]`.
    """

    resplits: int
    rate: float
    never: float
    mean_excess: float
    shares: tuple[float, ...]


def violation_rate(rule: Rule, units: Sweep, budget: float, calibrating: Floats) -> Violations:
    """Try a rule on halves of the units, none of which may have made the candidates.

    A test half is itself a sample, whose mean strays from the risk that the promise is about (`expected_violations`).

    Args:
        units: risks are taken as they are, not counted as at most something.
        calibrating: 1 for each unit that calibrates, 0 for each that tests, `[R, U]`: `halves`, or `pieces`.
    """
    resplits, count = calibrating.shape
    evidence = calibrating @ rule.evidence(units.excess)
    size = count // 2
    chosen = [rule.choose(each, size) for each in evidence]
    testing = (1 - calibrating) / (count - size)
    excess, shares = np.zeros(resplits), np.zeros((resplits, units.shares.shape[2]))
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
    """1 for each unit that calibrates, 0 for each that tests, `[R, U]`; half of the units, rounded down, calibrate."""
    places = np.random.default_rng(seed).random((resplits, units)).argsort(axis=1)
    return (places < units // 2).astype(np.float64)


def pieces(units: int, resplits: int) -> Floats:
    """`halves` that are one piece of the text each, its end joined to its beginning; units in the order of the text.

    Where a rule fares worse on these than on random halves, the text changes its subject more slowly than units do,
    and what holds on one part of it need not hold on the next.
    """
    starts = np.arange(resplits) * units // resplits
    places = (np.arange(units) - starts[:, None]) % units
    return (places < units // 2).astype(np.float64)


def expected_violations(delta: float, calibration: int, test: int) -> float:
    """The rate at which test samples of that size are above the budget where the promise holds with nothing to spare.

    With normal means the calibration mean lies `z(delta)` of its standard errors below the budget; the test mean
    strays from it by both samples' errors: `Φ(z(delta) / sqrt(1 + calibration/test))`.
    """
    normal = NormalDist()
    return normal.cdf(normal.inv_cdf(delta) / math.sqrt(1 + calibration / test))
