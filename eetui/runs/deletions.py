"""What was deleted from the list, so that it can be undone batch by batch."""

from collections.abc import Sequence


class Deletions:
    """Batches of runs that are in the bin; the last one can be taken back."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, ...]] = []

    @property
    def runs(self) -> tuple[int, ...]:
        """Return all runs that were deleted and not brought back."""
        return tuple(run for batch in self._batches for run in batch)

    def add(self, runs: Sequence[int]) -> None:
        """Note that these are in the bin."""
        self._batches.append(tuple(runs))

    def undo(self) -> tuple[int, ...]:
        """Take the last batch back and return its runs; none if there was no batch."""
        return self._batches.pop() if self._batches else ()
