"""The config of an imported run: what is known of it, and how its exits are set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.config.derived import calibration_indices
from core.config.run_config import Layer, RunConfig, build
from core.errors import UsageError
from core.extensions.imported import IMPORTED, IMPORTED_SIGNAL
from core.importing.tokens import ImportedTokens
from core.pricing.thresholds import Integers, left_at

LOSS_BUDGET = 0.01
"""Nats that exits may add where nothing is said of their thresholds."""
CALIBRATION_SHARE = 0.2
"""Share of the windows that set the exits where a file does not say which."""
EDGE = 1e-6
"""Distance of `exit.hard_ratio` from 0 and 1, which it must not be."""


@dataclass(frozen=True)
class Aim:
    """What exits are set for: one of the first four, or none, for the file's thresholds or the default.

    Attributes:
        loss_budget: nats above the loss of all blocks.
        savings: share of the cost to save.
        price: nats for the cost of the whole model.
        exit_rate: share of the tokens arriving at each exit that leave there.
        cost: what a price is paid for; None: the file's costs if it has any, else layers.
        calibration: share of the windows that set the exits, where the file does not say which.
    """

    loss_budget: float | None = None
    savings: float | None = None
    price: float | None = None
    exit_rate: float | None = None
    cost: Literal["layers", "flops"] | None = None
    calibration: float | None = None

    @property
    def chosen(self) -> dict[str, float]:
        """Those of the four that are chosen."""
        names = ("loss_budget", "savings", "price", "exit_rate")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def check(self, tokens: ImportedTokens) -> None:
        """Check that it is one thing, and can be had of these tokens.

        Raises:
            UsageError: it is not.
        """
        if len(self.chosen) > 1:
            options = " and ".join(f"--{name.replace('_', '-')}" for name in self.chosen)
            raise UsageError(f"exits are set for one aim, got {options}: leave all but one out")
        if self.chosen and tokens.thresholds:
            raise UsageError(
                f"the file has thresholds, so its exits are set: leave them out of it, or "
                f"--{next(iter(self.chosen)).replace('_', '-')}"
            )
        if self.calibration is not None and tokens.calibration is not None:
            raise UsageError("the file says which windows are for calibration: leave --calibration out")
        if self.calibration is not None and not 0 < self.calibration < 1:
            raise UsageError(f"--calibration must be a share above 0 and below 1, got {self.calibration:g}")
        if self.exit_rate is not None and not 0 < self.exit_rate < 1:
            raise UsageError(f"--exit-rate must be a share above 0% and below 100%, got {self.exit_rate:.6g}")
        if self.savings is not None and not 0 <= self.savings < 1:
            raise UsageError(f"--savings must be a share from 0% to below 100%, got {self.savings:.6g}")
        if self.cost is not None and (tokens.thresholds or self.exit_rate is not None):
            raise UsageError("--cost is what a price is paid for, and here no price sets the exits: leave it out")
        if self.cost == "flops" and not tokens.has_costs:
            raise UsageError("--cost flops needs costs of the exits: give them in the file or by --costs")


def import_config(tokens: ImportedTokens, aim: Aim) -> RunConfig:
    """Return the config of a run on imported tokens.

    Raises:
        UsageError: an aim is out of range (`ConfigError`), or not one thing.
    """
    aim.check(tokens)
    values: dict[str, Any] = {
        "method": IMPORTED_SIGNAL + tokens.method,
        "protocol": "frozen",
        "seed": 0,
        "data.corpus": tokens.corpus or IMPORTED,
        "data.seq_len": tokens.seq_len,
        "model.source": IMPORTED,
        "model.block_layers": tokens.layers,
        "exit.exited_state": "copy",
        "exit.last_exit": False,
        "exit.exit_classifier_mode": "post",
        "exit.calibration": "spread" if tokens.calibration is None else "heldout",
        "exit.calibration_ratio": _calibration_share(tokens, aim),
        "exit.cost": aim.cost or ("flops" if tokens.has_costs else "layers"),
        **_policy(tokens, aim),
    }
    return build([Layer("eetui import", values)])


def known_config(config: RunConfig) -> dict[str, Any]:
    """Return the part of the config that is known of an imported run, nested, as plain values."""
    exits = {"exited_state", "last_exit", "exit_classifier_mode", "calibration", "calibration_ratio", "cost", "policy"}
    aims: Mapping[str, set[str]] = {
        "quantile": {"hard_ratio"}, "price": {"price"}, "savings": {"savings"}, "loss": {"loss_budget"},
    }  # fmt: skip
    return config.model_dump(
        mode="json",
        include={
            "method": True,
            "protocol": True,
            "seed": True,
            "data": {"corpus", "seq_len"},
            "model": {"source", "block_layers"},
            "exit": exits | aims[config.exit.policy],
        },
    )


def split(tokens: ImportedTokens, config: RunConfig, aim: Aim) -> tuple[Integers, Integers]:
    """Return the numbers of the windows that set the exits, and of those that evaluate them.

    The former are none where the exits are set already and nothing asks for a calibration part.
    """
    windows = np.arange(tokens.windows)
    if tokens.calibration is not None:
        return windows[tokens.calibration], windows[~tokens.calibration]
    if tokens.thresholds and aim.calibration is None:
        return windows[:0], windows
    held = calibration_indices(tokens.windows, config)
    if not held:
        raise UsageError(f"{tokens.windows} windows are too few to set exits on some and evaluate them on others")
    return np.array(held), np.delete(windows, held)


def _calibration_share(tokens: ImportedTokens, aim: Aim) -> float:
    if tokens.calibration is not None:
        return float(tokens.calibration.mean())
    return CALIBRATION_SHARE if aim.calibration is None else aim.calibration


def _policy(tokens: ImportedTokens, aim: Aim) -> dict[str, float | str]:
    """Return the fields of the config that say what exits are set for."""
    if tokens.thresholds:  # whatever they were set for, the target is what they give
        signal = tokens.signal.reshape(len(tokens.signal), -1)
        staying = float((left_at(signal, tokens.thresholds) == len(signal)).mean())
        return {"exit.policy": "quantile", "exit.hard_ratio": _within(staying ** (1 / len(signal)))}
    if aim.exit_rate is not None:
        return {"exit.policy": "quantile", "exit.hard_ratio": 1 - aim.exit_rate}
    name, value = next(iter(aim.chosen.items()), ("loss_budget", LOSS_BUDGET))
    return {"exit.policy": {"loss_budget": "loss"}.get(name, name), f"exit.{name}": value}


def _within(share: float) -> float:
    return min(max(share, EDGE), 1 - EDGE)
