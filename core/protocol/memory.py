"""Where finished stages are kept, for those who need not compute them again."""

from collections.abc import Sequence
from typing import Any, Protocol

from core.events import Event


class Shelf(Protocol):
    """Where finished stages are kept: their events, without steps, and what they returned."""

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """A stage, if it is there."""

    def keep(self, stage: str, events: Sequence[Event], result: Any) -> None:
        """Keep a stage; one that is there may stay."""


class StageMemory:
    """Results of finished stages, for the sibling runs of an experiment.

    It holds the stages of one origin (seed, data, model, training) at a time: an experiment runs all methods of
    a seed before the next seed.
    """

    def __init__(self) -> None:
        self._origin = ""
        self._finished: dict[str, tuple[tuple[Event, ...], Any]] = {}

    def shelf(self, origin: str) -> Shelf:
        """The stages of that origin; those of any other are forgotten."""
        if origin != self._origin:
            self._origin, self._finished = origin, {}
        return self

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """The events (without steps) and the result of a stage, if it was kept."""
        return self._finished.get(stage)

    def keep(self, stage: str, events: Sequence[Event], result: object) -> None:
        """Keep a finished stage."""
        self._finished[stage] = (tuple(events), result)
