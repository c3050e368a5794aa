"""The active keys as plain data, for the help screen and the command palette."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen


@dataclass(frozen=True)
class Key:
    """A key binding.

    Attributes:
        keys: keys as shown, several separated by spaces.
        action: action in Textual's notation, to be run in the binding's own namespace.
    """

    keys: str
    does: str
    id: str
    action: str
    namespace: object


def active_keys(app: "App[None]", screen: "Screen[Any]") -> Iterator[Key]:
    """Yield the bindings of screen and app, each once; those of Textual's own widgets have no id and are left out."""
    bindings = [
        (active.binding.id, app.get_key_display(active.binding), active)
        for active in screen.active_bindings.values()
        if active.binding.id and active.enabled
    ]
    for identity, group in groupby(sorted(bindings, key=lambda item: str(item[0])), key=lambda item: str(item[0])):
        members = list(group)
        first = members[0][2]
        yield Key(
            keys=" ".join(dict.fromkeys(display for _, display, _ in members)),
            does=first.binding.tooltip or first.binding.description,
            id=identity,
            action=first.binding.action,
            namespace=first.node,
        )
