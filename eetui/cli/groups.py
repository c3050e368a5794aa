"""Groups of commands, each imported when it is first asked for: all of them take longer than a list of runs."""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from eetui.drawing.harmless import lines


class HarmlessGroup(TyperGroup):
    """The commands; complaints about the command line repeat its words harmless and shortened."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the command line."""
        with _complaining():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _complaining():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, in which the option `--ray` may be without its value."""
        if "--ray" in args:
            from eetui.cli.on_cluster import with_ray_address

            args = with_ray_address(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in their order; none is imported."""
        return list(self.commands)


@contextmanager
def _complaining() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # a complaint about the command line
            error.message = lines(error.message)  # type: ignore[attr-defined]
        raise


class _Loaded(UserDict[str, Any]):
    """Commands by name; one that is a place (`commands_at`) is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            found = self.data[name] = _load(name, found)
        return found


def _load(name: str, place: str) -> Any:
    """Import a command, or a group of them."""
    module, _, function = place.partition(":")
    found = getattr(import_module(f"eetui.cli.{module}"), function)
    if isinstance(found, typer.Typer):
        group = get_command(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(found)
    return get_command(alone)


def commands_at(places: Mapping[str, str], callback: Callable[..., Any], **options: Any) -> typer.Typer:
    """Return a group of commands.

    Args:
        places: of each command, by its name, the module of `eetui.cli` and the function, or the group, in it:
            `runs:show`.
        callback: what the group does before its command, or without one.
        options: of `typer.Typer`.
    """

    class Commands(HarmlessGroup):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.commands = _Loaded(places)

    group = typer.Typer(cls=Commands, pretty_exceptions_enable=False, **options)
    group.callback()(callback)
    return group
