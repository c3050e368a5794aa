"""Costs of early exit as whoever measured an imported run gave them, in place of FLOPs that follow from dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.config.run_config import RunConfig
from core.costs import ExitCosts


@dataclass(frozen=True)
class GivenCosts(ExitCosts):
    """Costs in the giver's unit, in which the dimensions of the model count for nothing.

    Attributes:
        leaving_at: cost of a token that leaves at each block, `[K]`.
        signals: cost of the signal of a token that arrives at each exit, `[K - 1]`.
    """

    leaving_at: tuple[float, ...] = ()
    signals: tuple[float, ...] = ()

    @property
    def full(self) -> float:
        """Cost of all blocks without exits."""
        return self.leaving_at[-1]

    @property
    def static(self) -> tuple[float, ...]:
        """Cost of a token that leaves at each block without signals, `[K]`."""
        return self.leaving_at

    @property
    def leaving(self) -> tuple[float, ...]:
        """Cost of a token that leaves at each block, the signals of exits excepted, `[K]`."""
        return self.leaving_at

    @property
    def keys_values(self) -> tuple[float, ...]:
        """Nothing: what a token costs after it left is in its own cost, `[K]`."""
        return (0.0,) * len(self.leaving_at)

    @property
    def arriving(self) -> tuple[float, ...]:
        """Cost of the signal of a token that arrives at each exit, `[K - 1]`; 0 where the exit is off."""
        return tuple(0.0 if block in self.off else cost for block, cost in enumerate(self.signals))


def given_costs(config: RunConfig, record: Mapping[str, Any]) -> GivenCosts:
    """Return the costs of an imported run.

    Args:
        record: its reproduction record, which holds what was given under `imported`.
    """
    given = record["imported"]
    return GivenCosts(
        config.model,
        int(record["vocab_size"]),
        config.data.seq_len,
        reads_head=False,
        exited_state=config.exit.exited_state,
        leaving_at=tuple(given["costs"]),
        signals=tuple(given["signal_costs"]),
    )
