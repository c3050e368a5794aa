"""A figure as comparisons and lists know it. Apart from them because a list of runs imports nothing else of theirs."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["ppl", "share", "signal", "loss", "count", "nats"]


@dataclass(frozen=True)
class Value:
    """A figure and, over several seeds, its standard deviation."""

    mean: float
    deviation: float | None = None
