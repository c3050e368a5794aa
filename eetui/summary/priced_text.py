"""The price that set a run's thresholds, in words: what was asked for, what it promises, and what came of it."""

from collections.abc import Iterator

from core.config.derived import COST_NAMES
from core.events import Priced, Split
from core.state import RunState
from eetui.drawing.figures import price

SPLIT_NAMES: dict[Split, str] = {
    "train": "training windows",
    "calibration": "calibration windows",
    "early-stop": "early-stopping windows",
    "eval": "evaluation windows",
}


def priced_facts(state: RunState) -> Iterator[tuple[str, str]]:
    """Yield label and words of each fact; nothing where no price set the thresholds."""
    found = state.priced
    if found is None:
        return
    yield "price", f"{price(found.price)} nats for all {COST_NAMES[found.cost]}, {asked_for(found)}"
    where = SPLIT_NAMES[found.split]
    yield "promised", f"{found.savings:.1%} saved, {found.excess:+.4f} nats above all blocks ({where})"
    saved, whole = realised(state, found), state.measure("all blocks")
    if saved is not None and state.final is not None:
        excess = f", {state.final.loss - whole.loss:+.4f} nats above all blocks" if whole else ""
        yield "realised", f"{saved:z.1%} saved{excess} ({SPLIT_NAMES[state.final.split]})"


def asked_for(found: Priced) -> str:
    """Say what the price was to reach."""
    return {
        "price": "as given",
        "savings": f"for {found.target:.1%} of the {COST_NAMES[found.cost]} saved",
        "loss": f"for {found.target:.4f} nats above all blocks at most",
    }[found.policy]


def realised(state: RunState, found: Priced) -> float | None:
    """Return the share of the cost that early exit saved on the evaluation split; None before it is measured."""
    if found.cost == "layers":
        return state.final.layer_savings if state.final else None
    return state.savings.flops if state.savings else None
