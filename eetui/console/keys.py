"""The keys that work right now, as plain data: for the help screen and the command palette."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError

if TYPE_CHECKING:
    from textual.app import App
    from textual.dom import DOMNode
    from textual.screen import Screen


@dataclass(frozen=True)
class Key:
    """One binding.

    Attributes:
        keys: as shown, several separated by a space.
        action: in the notation of Textual, to be run in the binding's own namespace.
    """

    keys: str
    does: str
    id: str
    action: str
    namespace: object


def active_keys(app: "App[None]", screen: "Screen[Any]") -> Iterator[Key]:
    """The screen's and the app's bindings, once each; those of Textual's own widgets have no id and are left out."""
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


def all_ids() -> frozenset[str]:
    """The ids of all bindings of the console; imports every screen and widget to find them."""
    from textual.binding import Binding
    from textual.dom import DOMNode

    import eetui

    for module in pkgutil.walk_packages(eetui.__path__, "eetui."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    bindings = (binding for node in _subclasses(DOMNode) for binding in Binding.make_bindings(node.BINDINGS))
    return frozenset(binding.id for binding in bindings if binding.id)


def check_ids(ids: Iterable[str]) -> None:
    """Refuse keys for what does not exist.

    Raises:
        ConfigError: an id is unknown.
    """
    wanted = list(ids)
    known = all_ids() if wanted else frozenset()
    for identity in wanted:
        if identity not in known:
            near = difflib.get_close_matches(identity, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "? shows the ids of each screen"
            raise ConfigError(f"settings file: keys.{identity} is no binding; {hint}")


def _subclasses(kind: "type[DOMNode]") -> "Iterator[type[DOMNode]]":
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
