"""Price stage: find the price that the config asks for, on the calibration tokens."""

from collections.abc import Generator, Mapping, Sequence

import torch
from torch import Tensor

from core.config.derived import COST_NAMES, sets_thresholds_by_price
from core.config.run_config import RunConfig
from core.costs import PricedCosts, priced_costs
from core.events import Event, Priced, StageStarted, Warned
from core.exits import exit_method
from core.machine.clock import UNPROFILED, Clock
from core.pricing.policy import Outcome, PricedTokens
from core.pricing.search import check_target, reach
from core.stages.splits import calibration_split
from core.stages.statistics import BlockOutput

FAR = 0.02
"""Distance of savings from their target from which a run says so."""


def check_price(config: RunConfig, vocab_size: int) -> None:
    """Refuse a target that no thresholds reach.

    Raises:
        ConfigError: there is such a target.
    """
    if sets_thresholds_by_price(config) and config.exit.policy == "savings":
        check_target(config.exit.savings, _costs(config, vocab_size), config.exit.cost)


def find_price(
    outputs: Sequence[BlockOutput],
    signals: Mapping[int, Tensor],
    config: RunConfig,
    vocab_size: int,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Outcome]:
    """Find the thresholds of all exits at the price that is given, or that reaches the config's target.

    Args:
        outputs: of every block, with no token gone.
        signals: of every exit, `[n]` each, on the same tokens.
    """
    first = outputs[0]
    losses = [first.statistics.cross_entropy, *(block.cross_entropy for block in first.later)]
    tokens = PricedTokens(
        loss=torch.stack(losses).cpu().double().numpy(),
        signal=torch.stack([signals[block] for block in sorted(signals)]).cpu().numpy(),
        costs=_costs(config, vocab_size),
        is_price=exit_method(config.method).claims == "price",
    )
    found = yield from report_price(tokens, config, stage, clock)
    return found


def report_price(
    tokens: PricedTokens, config: RunConfig, stage: str, clock: Clock = UNPROFILED
) -> Generator[Event, None, Outcome]:
    """Find the thresholds of all exits at the price that is given, or that reaches the config's target; report them."""
    yield StageStarted(stage, "price", None, 1, 1, tokens.loss.shape[1])
    with clock.part("threshold"):
        found, target = _found(tokens, config)
    if config.exit.policy == "savings" and abs(found.savings - target) > FAR and found.price > 0:
        yield Warned(
            f"exits are set for {found.savings:.1%} of the {COST_NAMES[config.exit.cost]}, not {target:.1%}: no tokens "
            f"are known to leave so that {target:.1%} are saved and less is lost than at fixed depths"
        )
    yield Priced(
        stage=stage,
        policy=config.exit.policy,
        target=target,
        cost=config.exit.cost,
        price=found.price,
        savings=found.savings,
        excess=found.loss - float(tokens.loss[-1].mean()),
        split=calibration_split(config),
    )
    return found


def _found(tokens: PricedTokens, config: RunConfig) -> tuple[Outcome, float]:
    """Return the outcome that the config asks for, and the figure that it gives."""
    if config.exit.policy == "price":
        return tokens.at_price(config.exit.price), config.exit.price
    if config.exit.policy == "savings":
        return reach(tokens, "savings", config.exit.savings), config.exit.savings
    return reach(tokens, "loss", config.exit.loss_budget), config.exit.loss_budget


def _costs(config: RunConfig, vocab_size: int) -> PricedCosts:
    method = exit_method(config.method)
    return priced_costs(config, vocab_size, reads_head=method.reads_head, learns=method.learns)
