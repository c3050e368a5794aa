"""Keys: in the help, in the palette, and remapped."""

from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from core.errors import ConfigError
from eetui.app import EetuiApp, all_ids, check_ids
from eetui.console.help_screen import HelpScreen
from eetui.console.keys import active_keys
from eetui.console.settings import Settings
from eetui.runs.screen import RunsScreen


async def test_help_lists_the_keys_of_the_screen_beneath_with_their_ids(six_runs: Path) -> None:
    bench = EetuiApp(six_runs)
    async with bench.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(bench.screen, HelpScreen)
        ids = {key.id for key in bench.screen.keys}
        assert {"app.help", "app.quit", "app.new"} <= ids
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(bench.screen, RunsScreen)


async def test_the_palette_offers_every_action_of_the_screen(six_runs: Path) -> None:
    bench = EetuiApp(six_runs)
    async with bench.run_test() as pilot:
        await pilot.pause()
        offered = " ".join(command.title for command in bench.get_system_commands(bench.screen))
        for key in active_keys(bench, bench.screen):
            assert key.does in offered


async def test_a_key_can_be_remapped_in_the_settings(six_runs: Path) -> None:
    bench = EetuiApp(six_runs, Settings(keys={"app.theme": "f8"}))
    async with bench.run_test() as pilot:
        await pilot.pause()
        before = bench.theme
        await pilot.press("ctrl+t")
        assert bench.theme == before
        await pilot.press("f8")
        assert bench.theme != before


def test_every_binding_of_ours_has_an_id_a_tooltip_and_one_meaning() -> None:
    all_ids()  # imports them all
    meanings: dict[str, set[str]] = {}
    for node in _ours(DOMNode):
        for binding in Binding.make_bindings(node.__dict__.get("BINDINGS", ())):
            assert binding.id, f"{node.__name__}: {binding.key} has no id"
            assert binding.tooltip, f"{node.__name__}: {binding.id} has no tooltip"
            meanings.setdefault(binding.id, set()).add(binding.action)
    ambiguous = {identity: actions for identity, actions in meanings.items() if len(actions) > 1}
    assert not ambiguous


def _ours(kind: type[DOMNode]) -> list[type[DOMNode]]:
    below = [node for child in kind.__subclasses__() for node in [child, *_ours(child)]]
    return [node for node in below if node.__module__.startswith("eetui")]


def test_a_key_for_an_unknown_binding_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"keys\.app\.hlep is no binding; did you mean app\.help\?"):
        check_ids(["app.hlep"])
