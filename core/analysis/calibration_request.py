"""Request for a calibration, and its validation."""

import math
from dataclasses import dataclass

from core.errors import UsageError


@dataclass(frozen=True)
class CalibrationRequest:
    """Request for a risk budget or an exit rate.

    Attributes:
        max_ppl_increase: budget: increase of the PPL over all blocks without exit; 0.01 is 1%.
        exit_rate: share of the tokens arriving at each exit that exit there.
        over: what the thresholds tried for a budget are made from: one exit `rate` for all exits, or one `price`.
        method: method for a budget, `ltt` (Learn then Test) or `crc` (conformal risk control).
        delta: probability with which the promise of `ltt` may be broken.
        unit_windows: number of neighbouring windows in a unit; None: the method's default.
        resplits: number of new halvings of the units on which the promise is tested.
    """

    max_ppl_increase: float | None = None
    exit_rate: float | None = None
    method: str = "ltt"
    delta: float = 0.1
    unit_windows: int | None = None
    resplits: int = 200
    seed: int = 0
    over: str = "rate"

    def check(self) -> None:
        """Validate the request.

        Raises:
            UsageError: not exactly one of budget and exit rate is given, or a value is out of range.
        """
        if (self.max_ppl_increase is None) == (self.exit_rate is None):
            raise UsageError(
                "give --max-ppl-increase, such as 1%, or --exit-rate, such as 50%"
                + ("" if self.exit_rate is None else ", not both")
            )
        if self.max_ppl_increase is not None and not 0 <= self.max_ppl_increase < math.inf:
            raise UsageError(f"--max-ppl-increase must be finite and at least 0, got {self.max_ppl_increase:.4g}")
        if self.exit_rate is not None and not 0 <= self.exit_rate <= 1:
            raise UsageError(f"--exit-rate must lie between 0% and 100%, got {self.exit_rate:.4g}")
        if self.over not in ("rate", "price"):
            raise UsageError(f"--over must be rate or price, got {self.over!r}")
        if self.over == "price" and self.exit_rate is not None:
            raise UsageError("--over price is for --max-ppl-increase: with --exit-rate thresholds are quantiles")
        if not 0 < self.delta < 1:
            raise UsageError(f"--delta must lie between 0 and 1, got {self.delta:.4g}")
        if self.method not in ("ltt", "crc"):
            raise UsageError(f"--method must be ltt or crc, got {self.method!r}")
        if self.resplits < 1 or (self.unit_windows is not None and self.unit_windows < 1):
            raise UsageError("--resplits and --unit-windows must be at least 1")
