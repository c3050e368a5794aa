"""Every screen of the console, how keys alone lead to it, and a walk through it that notes what it shows.

A screen that is not in `WAYS` fails `test_walks.py`: add how it is reached.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

import eetui
from eetui.app import EetuiApp
from eetui.console.screen import BenchScreen
from eetui.console.settings import Settings
from eetui.console.training_thread import Job
from eetui.drawing.plot import Plot
from eetui.live.keys import LiveKeys
from tests.scripted_runs import config

BASES = (BenchScreen, LiveKeys)
"""Screens that others are made of."""
ARROWS = ("down", "right", "up", "left")
WAYS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "RunsScreen": ((), ("space", "p", "s", "slash", "escape")),
    "NewScreen": (("n",), ("ctrl+down", "ctrl+up")),
    "LiveScreen": (("end", "enter"), ("v", "l", "t", "f")),
    "CompareScreen": (("end", "c"), ("2", "3", "4", "5", "1")),
    "InspectScreen": (("end", "i"), ("2", "3", "4", "1", "p", "right_square_bracket", "d")),
    "GenerateScreen": (("end", "w"), ("ctrl+o",)),
    "SweepsScreen": (("W",), ("2", "3", "4", "5", "1", "enter")),
    "MachineScreen": (("U",), ("pagedown", "pageup")),
    "HelpScreen": (("question_mark",), ("pagedown",)),
    "Prompt": (("R",), ()),
    "Question": (("end", "enter", "o", "X"), ("left", "right")),
    "CommandPalette": (("ctrl+p",), ("down", "up")),
    "QueueScreen": (("end", "enter", "o"), ("j", "k", "J")),
}
"""Of each screen the keys that lead to it from the list of runs, and the keys that change what it shows."""

Cell = tuple[str, tuple[bool, ...]]
"""A character of the terminal, and its attributes that need no colour."""


@dataclass
class Walk:
    """What was seen on the way through a screen.

    Attributes:
        no_color: whether the console had been asked for no colour.
        reached: whether the keys led there.
        left: whether escape led away again.
        focusable, focused: widgets that can have the focus, and those that tab gave it to.
        stuck: focused widgets that tab did not leave, though there are others.
        told_by_colour: keys after which colours changed, and nothing else did.
        in_no_theme: texts that were drawn in a colour that no theme chose.
        in_two_colours: texts that were drawn in two colours with a meaning, and in the same way otherwise.
    """

    no_color: bool = False
    reached: bool = False
    left: bool = False
    focusable: set[str] = field(default_factory=set)
    focused: set[str] = field(default_factory=set)
    stuck: list[str] = field(default_factory=list)
    told_by_colour: list[str] = field(default_factory=list)
    in_two_colours: dict[str, set[str]] = field(default_factory=dict)
    in_no_theme: set[str] = field(default_factory=set)


def screens() -> dict[str, type[Screen[object]]]:
    """Return every screen that the package defines, by name, and the palette, which is Textual's."""
    for module in pkgutil.walk_packages(eetui.__path__, "eetui."):
        if module.name.split(".")[1] not in ("__main__", "cli", "trackers", "figures", "exports", "report"):
            importlib.import_module(module.name)
    ours = (kind for kind in _subclasses(Screen) if kind.__module__.startswith("eetui.") and kind not in BASES)
    return {kind.__name__: kind for kind in (*ours, CommandPalette)}


def walk(name: str, database: Path, size: tuple[int, int]) -> Walk:
    """Walk through a screen, in a loop of its own."""
    return asyncio.run(_walk(name, database, size))


async def _walk(name: str, database: Path, size: tuple[int, int]) -> Walk:
    found, (way, keys) = Walk(), WAYS[name]
    bench = EetuiApp(database, Settings(bell=False))
    found.no_color = bench.no_color
    async with bench.run_test(size=size) as pilot:
        await pilot.pause()
        if "o" in way:  # two runs wait for a thread that never comes
            bench.trainer._alive = True
            bench.trainer._jobs += [Job(run, config(), None, None) for run in (1, 2)]  # type: ignore[arg-type]
        for key in way:
            await _press_and_rest(pilot, key)
        screen = bench.screen
        found.reached = type(screen).__name__ == name
        if found.reached:
            await _tab(pilot, found)
            await _press(pilot, found, (*ARROWS, *keys))
            _note_colours(bench, found)
            await _leave(pilot, screen, found)
    return found


async def _tab(pilot: Pilot[None], found: Walk) -> None:
    """Go round with tab, until the focus is where it was."""
    screen = pilot.app.screen
    found.focusable = {_named(widget) for widget in screen.query("*") if widget.focusable and _shown(widget)}
    for _ in range(2 * len(found.focusable) + 2):
        before = screen.focused
        if before is not None:
            found.focused.add(_named(before))
        await _press(pilot, found, ("tab",), brief=True)
        if screen.focused is before and len(found.focusable) > 1:
            found.stuck.append(str(before))
            break
        if found.focused == found.focusable:
            break


async def _press(pilot: Pilot[None], found: Walk, keys: Sequence[str], *, brief: bool = False) -> None:
    after = cells(pilot.app.screen)
    for key in keys:
        where, before = _named(pilot.app.screen.focused), after
        await (pilot.press(key) if brief else _press_and_rest(pilot, key))
        after = cells(pilot.app.screen)
        if before != after and _plain(before) == _plain(after):
            found.told_by_colour.append(f"{key} on {where}")


async def _press_and_rest(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await at_rest(pilot)


async def _leave(pilot: Pilot[None], screen: Screen[object], found: Walk) -> None:
    if len(pilot.app.screen_stack) == 2:
        found.left = True  # the first screen stays
        return
    for _ in range(3):
        if pilot.app.screen is screen:
            await pilot.press("escape")
            await at_rest(pilot)
    found.left = pilot.app.screen is not screen


async def at_rest(pilot: Pilot[None]) -> None:
    """Wait until the screen has stayed as it is for a moment."""
    before, same = None, 0
    for _ in range(60):
        await pilot.pause(0.02)
        now = cells(pilot.app.screen)
        same = same + 1 if now == before else 0
        if same == 4:
            return
        before = now


def _note_colours(bench: EetuiApp, found: Walk) -> None:
    """Note texts that colours alone tell apart, charts aside: their curves have names and signs in their legends."""
    meanings = {bench.theme_variables[name]: name for name in ("success", "warning", "error", "accent")}
    for text, colour in _runs(bench.screen):
        if not colour.startswith("#"):
            found.in_no_theme.add(text)
        if colour in meanings:
            found.in_two_colours.setdefault(text, set()).add(meanings[colour])
    found.in_two_colours = {text: colours for text, colours in found.in_two_colours.items() if len(colours) > 1}


def cells(screen: Screen[object]) -> list[tuple[Cell, object, object]]:
    """Return every cell of the terminal: character and attributes, then colours."""
    shown = []
    for strip in screen._compositor.render_strips():
        for segment in strip:
            style = segment.style
            marks = tuple(
                bool(getattr(style, name)) for name in ("bold", "italic", "underline", "reverse", "overline", "strike")
            )
            dim = bool(style and style.dim)
            shown += [((char, marks), style and (style.color, dim), style and style.bgcolor) for char in segment.text]
    return shown


def _plain(shown: Sequence[tuple[Cell, object, object]]) -> list[Cell]:
    return [cell for cell, _, _ in shown]


def _runs(screen: Screen[object]) -> Iterator[tuple[str, str]]:
    """Yield the texts of the terminal, each of one style, with the colour they are drawn in."""
    plots = [plot.region for plot in screen.query(Plot)]
    for y, strip in enumerate(screen._compositor.render_strips()):
        x = 0
        for segment in strip:
            style, text = segment.style, segment.text.strip()
            if text and style and style.color and not any(plot.contains(x, y) for plot in plots):
                marks = "".join(name[0] for name in ("bold", "italic", "underline", "reverse") if getattr(style, name))
                yield f"{text} {marks}".strip(), style.color.name.upper()
            x += segment.cell_length


def _named(widget: Widget | None) -> str:
    return "nothing" if widget is None else f"{type(widget).__name__} {widget.id or widget.name or ''} {id(widget)}"


def _shown(widget: Widget) -> bool:
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))


def _subclasses(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
