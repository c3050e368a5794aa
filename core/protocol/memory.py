"""Results of finished stages, kept so that they are not computed twice."""

from collections.abc import Sequence
from typing import Any, Protocol

from core.events import Event


class Shelf(Protocol):
    """A store of finished stages: their events, without steps, and their results."""

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """Return a stage's events and result; None if it is not stored."""

    def keep(self, stage: str, events: Sequence[Event], result: Any) -> None:
        """Store a stage; one that is already stored may stay as it is."""


class StageMemory:
    """Finished stages that sibling runs of an experiment share.

    It holds the stages of one origin (seed, data, model, training) at a time: an experiment runs all methods with one
    seed before the next seed.
    """

    def __init__(self) -> None:
        self._origin = ""
        self._finished: dict[str, tuple[tuple[Event, ...], Any]] = {}

    def shelf(self, origin: str) -> Shelf:
        """Return the store for that origin, and drop the stages of any other."""
        if origin != self._origin:
            self._origin, self._finished = origin, {}
        return self

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """Return a stage's events (without steps) and result; None if it is not stored."""
        return self._finished.get(stage)

    def keep(self, stage: str, events: Sequence[Event], result: object) -> None:
        """Store a finished stage."""
        self._finished[stage] = (tuple(events), result)
