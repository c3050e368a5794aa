"""What is asked of a calibration, and whether it can be asked."""

import math
from dataclasses import dataclass

from core.errors import UsageError


@dataclass(frozen=True)
class CalibrationRequest:
    """What is asked for: a risk budget or an exit rate.

    Attributes:
        max_ppl_increase: over all blocks without exit; 0.01 is 1%.
        exit_rate: share of the tokens that arrive at each exit which shall leave there.
        method: of the budget: `ltt` (Learn then Test) or `crc` (conformal risk control).
        delta: probability with which the promise of `ltt` may be broken.
        unit_windows: neighbouring windows taken as one unit; None: by method.
        resplits: how often the units are halved anew to see the promise tested.
    """

    max_ppl_increase: float | None = None
    exit_rate: float | None = None
    method: str = "ltt"
    delta: float = 0.1
    unit_windows: int | None = None
    resplits: int = 200
    seed: int = 0

    def check(self) -> None:
        """Refuse what can't be met.

        Raises:
            UsageError: not exactly one of budget and exit rate, or one of them, or another number, out of its range.
        """
        if (self.max_ppl_increase is None) == (self.exit_rate is None):
            raise UsageError("say what to hold: --max-ppl-increase 1%, or --exit-rate 50%, and not both")
        if self.max_ppl_increase is not None and not 0 <= self.max_ppl_increase < math.inf:
            raise UsageError(f"--max-ppl-increase must be at least 0, got {self.max_ppl_increase:.4g}")
        if self.exit_rate is not None and not 0 <= self.exit_rate <= 1:
            raise UsageError(f"--exit-rate must lie between 0% and 100%, got {self.exit_rate:.4g}")
        if not 0 < self.delta < 1:
            raise UsageError(f"--delta must lie between 0 and 1, got {self.delta:.4g}")
        if self.method not in ("ltt", "crc"):
            raise UsageError(f"--method must be ltt or crc, got {self.method!r}")
        if self.resplits < 1 or (self.unit_windows is not None and self.unit_windows < 1):
            raise UsageError("--resplits and --unit-windows must be at least 1")
