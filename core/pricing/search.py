"""The search for the price that reaches a target on the tokens at hand."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from core.config.derived import COST_NAMES
from core.costs import PricedCosts
from core.errors import ConfigError
from core.formulas import each_alone
from core.pricing.policy import Outcome, PricedTokens
from core.pricing.thresholds import NEVER, Floats, exit_rates, left_at, quantile_thresholds, where_left
from core.static_line import static_mixture

LOWEST, HIGHEST = 1e-5, 1e3
"""Prices between which a target is sought, nats: less than any figure shows, more than any token is worth."""
FIRST, HALVINGS = 17, 12
"""Prices tried at equal ratios, and halvings of the interval between two of them."""
CLOSE = 0.001
"""Distance from a target, as a share of the cost, up to which a price reaches it."""
DEARER = 0.001
"""Nats by which an outcome may lose more than the mixture that saves as much."""
PIECES, LEAST_PIECE = 16, 8
"""Pieces of the text that thresholds are made and tried on in turns, and fewest tokens of one."""
NEAR = 0.02
"""Distance of a fixed depth from the savings asked for up to which it will do, as a share of the cost."""
A_HAIR = 1e-6
"""Nats that are no difference."""
Target = Literal["savings", "loss"]
Short = Callable[[Outcome], bool]


def largest_savings(costs: PricedCosts) -> float:
    """Return the largest share of the cost that any thresholds save: that of leaving at one block, alone."""
    depths = enumerate(each_alone(len(costs.leaving)))
    return max(1 - costs.mean(alone, [exit_ == block for exit_ in range(len(alone))]) for block, alone in depths)


def check_target(target: float, costs: PricedCosts, cost: str) -> None:
    """Refuse a target that no thresholds reach.

    Raises:
        ConfigError: the target is above all that can be saved.
    """
    most = max(0.0, math.floor(largest_savings(costs) * 1000 + CLOSE) / 1000)
    if target > most:
        raise ConfigError(
            f"exit.savings must be at most {most:g}: so much of the {COST_NAMES[cost]} is saved if every token leaves "
            f"where that saves most, got {target:g}; lower it, or make the first block shallower"
        )


def reach(tokens: PricedTokens, target: Target, value: float) -> Outcome:
    """Return the outcome that comes closest to a target.

    savings: thresholds that save this share of the cost. loss: those that save most at a mean loss of at most this
    many nats above that of all blocks. At price 0 tokens leave where no later block is expected to do better: if that
    saves more than was asked for, it is the answer, as saving less would lose more.

    Where thresholds, and with them savings, jump at some price, exit rates are moved from one side of the jump to the
    other, unless tokens that leave in between cost more than a mixture of both sides: then it is the nearer side.

    A target of savings is reached by a fixed depth where no signal is worth following (`_is_worth_following`).
    """
    found = closest(tokens, target, value)
    if target == "loss":
        budget = tokens.at_depth(len(tokens.loss) - 1).loss + value
        fixed = [depth for depth in _fixed_depths(tokens, found.price) if depth.loss <= budget]
        return max((found, *fixed), key=lambda outcome: outcome.savings)
    fixed = _fixed_depths(tokens, found.price)
    worth_it = [
        one for one in fixed if not any(one.savings < other.savings and one.loss >= other.loss for other in fixed)
    ]
    nearest = min(worth_it, key=lambda depth: abs(depth.savings - value))
    return found if _is_worth_following(tokens, value, near=abs(nearest.savings - value) < NEAR) else nearest


def closest(tokens: PricedTokens, target: Target, value: float) -> Outcome:
    """Return the outcome that comes closest to a target, judged on the tokens that it is made from."""
    never, free = tokens.outcome((NEVER,) * len(tokens.signal), 0.0), tokens.at_price(0.0)

    def short(found: Outcome) -> bool:
        return found.savings < value if target == "savings" else found.loss <= never.loss + value

    if not short(free):
        return free if target == "savings" else never
    low, high = _bracket(tokens, short, free)
    if high is None:
        return low
    for _ in range(HALVINGS):
        middle = tokens.at_price(math.sqrt(max(low.price, LOWEST) * high.price))
        low, high = (middle, high) if short(middle) else (low, middle)
    between = [found for found in _between(tokens, low, high, short) if _is_worth_it(found, low, high)]
    if target == "loss":
        return max((found for found in (low, *between) if short(found)), key=lambda found: found.savings)
    return min((low, high, *between), key=lambda found: abs(found.savings - value))


def _bracket(tokens: PricedTokens, short: Short, low: Outcome) -> tuple[Outcome, Outcome | None]:
    """Return neighbouring tried outcomes, short of the target and not.

    Where no price goes beyond the target: the lowest price at which as many tokens leave as at any, and None.
    """
    tried = [low]
    for price in np.geomspace(LOWEST, HIGHEST, FIRST).tolist():
        found = tokens.at_price(price)
        if not short(found):
            return tried[-1], found
        tried.append(found)
    return next(found for found in tried if found.shares == tried[-1].shares), None


def _between(tokens: PricedTokens, low: Outcome, high: Outcome, short: Short) -> list[Outcome]:
    """Return the outcomes next to the target with exit rates between those of two outcomes that a jump divides."""
    if high.savings - low.savings <= CLOSE:
        return []
    ends, found = [np.array(exit_rates(tokens.signal, side.thresholds)) for side in (low, high)], [low, high]
    for _ in range(HALVINGS):
        rates = (ends[0] + ends[1]) / 2
        middle = tokens.outcome(quantile_thresholds(tokens.signal, rates.tolist()), high.price)
        side = 0 if short(middle) else 1
        found[side], ends[side] = middle, rates
    return found


def _is_worth_it(found: Outcome, low: Outcome, high: Outcome) -> bool:
    """Whether an outcome loses no more than a mixture of two others that saves as much."""
    part = (found.savings - low.savings) / (high.savings - low.savings)
    return found.loss <= low.loss + part * (high.loss - low.loss) + DEARER


def _fixed_depths(tokens: PricedTokens, price: float) -> list[Outcome]:
    return [tokens.at_depth(block, price) for block in range(len(tokens.loss))]


def _is_worth_following(tokens: PricedTokens, value: float, *, near: bool) -> bool:
    """Whether thresholds for these savings do as well as fixed depths on tokens that they were not made from.

    Thresholds are made on every other piece of the text and tried on the rest, against the mixture of fixed depths with
    the same savings. They have to be better by more than an error where a fixed depth saves about as much (`near`), and
    no worse by more than one where none does.
    """
    count = tokens.loss.shape[1]
    if count < PIECES * LEAST_PIECE:
        return True
    numbers = np.arange(count)
    piece = numbers * PIECES // count  # [N]
    above = np.empty(count)
    for half in (0, 1):
        made_on, used = (numbers[piece % 2 == side] for side in (half, 1 - half))
        above[used] = _above_line(tokens.part(used), closest(tokens.part(made_on), "savings", value))
    means = np.array([above[piece == each].mean() for each in range(PIECES)])
    error = float(means.std(ddof=1)) / math.sqrt(PIECES)
    return float(means.mean()) < (-error if near else error + A_HAIR)


def _above_line(tokens: PricedTokens, made: Outcome) -> Floats:
    """Return the loss at those thresholds less that of the mixture of fixed depths that saves as much, `[N]`."""
    savings = tokens.outcome(made.thresholds, made.price).savings
    fixed = _fixed_depths(tokens, 0.0)
    mixture = static_mixture([depth.savings for depth in fixed], [depth.loss for depth in fixed], savings)
    blocks = left_at(tokens.signal, made.thresholds)
    above: Floats = where_left(tokens.loss, blocks) - np.asarray(mixture.weights) @ tokens.loss
    return above
