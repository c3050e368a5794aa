"""How many tokens to draft: a fixed number, as long as the exit is sure, or what pays by acceptance and time so far.

In FLOPs no draft pays: every token passes all layers whether it was drafted or not, and drafts and rejected tokens come
on top. What can pay is time, as one pass over several tokens reads the weights once. So a length is priced in seconds.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import isnan

from core.errors import UsageError

LONGEST = 16
"""Most tokens drafted in a pass, unless their number is fixed."""
TRIED = (4, 1, 2, 0)
"""Lengths of the first passes where lengths are priced, so that there are times to fit."""


@dataclass(frozen=True)
class Drafting:
    """How tokens are drafted.

    Attributes:
        block: exit that drafts.
        length: tokens to draft in a pass, 0: plain decoding; None: priced, or up to `LONGEST` with `until`.
        until: exit signal below which drafting ends; None: it does not end early.
    """

    block: int = 0
    length: int | None = None
    until: float | None = None

    def check(self, blocks: int, exits: bool, foresees: bool) -> None:
        """Refuse what a model can't do.

        Args:
            blocks: number of its blocks.
            exits: whether its exits have signals.
            foresees: whether these need the later blocks.

        Raises:
            UsageError: there is no such exit, the length is out of range, or options exclude each other.
        """
        if blocks == 1:
            raise UsageError("the model has one block only, so no exit can draft: give it more block_layers")
        if not 0 <= self.block < blocks - 1:
            raise UsageError(f"--exit must be a block from 0 to {blocks - 2}, before the last one, got {self.block}")
        if self.length is not None and self.until is not None:
            raise UsageError("--draft and --draft-until exclude each other: a length is fixed, or follows the signal")
        if self.length is not None and self.length < 0:
            raise UsageError(f"--draft must be at least 0 (plain decoding), got {self.length}")
        if self.until is not None and isnan(self.until):
            raise UsageError("--draft-until must be a number, got nan")
        if self.until is not None and (foresees or not exits):
            raise UsageError("--draft-until needs an exit signal that generation can compute: use --draft")


@dataclass
class PricedLength:
    """Chooses the length with the most expected tokens a second, by the passes seen so far.

    Attributes:
        accepted, tested: drafts the whole model agreed with, and drafts it judged.
        drafting: seconds and number of drafts.
        verifying: seconds and number of verifying passes, by the number of drafts in them.
    """

    accepted: int = 0
    tested: int = 0
    passes: int = 0
    drafting: list[float] = field(default_factory=lambda: [0.0, 0])
    verifying: dict[int, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0]))

    def next(self) -> int:
        """Return the length of the next draft."""
        if self.passes < len(TRIED):
            return TRIED[self.passes]
        rate = (self.accepted + 1) / (self.tested + 2)  # Laplace's rule of succession
        return max(range(LONGEST + 1), key=lambda length: expected_tokens(rate, length) / self.seconds(length))

    def saw(self, drafted: int, accepted: int, drafting: float, verifying: float) -> None:
        """Take in a pass; `drafting` and `verifying` are its seconds."""
        self.passes += 1
        self.accepted += accepted
        self.tested += accepted + (accepted < drafted)
        for kept, seconds, number in ((self.drafting, drafting, drafted), (self.verifying[drafted], verifying, 1)):
            kept[0] += seconds
            kept[1] += number

    def seconds(self, length: int) -> float:
        """Estimate the seconds of a pass: drafts cost alike, verifying costs a line fitted by least squares."""
        draft = self.drafting[0] / self.drafting[1] if self.drafting[1] else 0.0
        points = [(drafted, total / number, number) for drafted, (total, number) in self.verifying.items()]
        weight = sum(number for _, _, number in points)
        mean_x = sum(x * number for x, _, number in points) / weight
        mean_y = sum(y * number for _, y, number in points) / weight
        spread = sum(number * (x - mean_x) ** 2 for x, _, number in points)
        slope = sum(number * (x - mean_x) * (y - mean_y) for x, y, number in points) / spread if spread else 0.0
        lowest = min(y for _, y, _ in points)
        return length * draft + max(mean_y + max(slope, 0.0) * (length - mean_x), lowest / 2, 1e-9)


def expected_tokens(rate: float, length: int) -> float:
    """Return the expected tokens of a pass: `(1 − a^(k+1)) / (1 − a)` (Leviathan et al. 2023, equation 1).

    Args:
        rate: probability a with which a draft is accepted, below 1.
        length: number k of drafts.
    """
    return float((1 - rate ** (length + 1)) / (1 - rate))
