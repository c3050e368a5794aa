"""Listeners, and what is found in the store of a run that ended."""

from collections.abc import Sequence

from core.events import Event, TerminalEvent
from core.store.reader import Reader

METHODS = ("distill", "loss", "softmax")


def ignore(run: int, events: Sequence[Event]) -> None:
    """Publish to nobody."""


def ends(reader: Reader, run: int) -> list[Event]:
    return [event for event in reader.events(run)[0] if isinstance(event, TerminalEvent)]
