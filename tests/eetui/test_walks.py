"""Every screen is used with keys alone, and what its colours say is said without them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from core.store.files import checkpoint_folder
from core.store.writer import Writer
from eetui.app import SCREENS
from eetui.machine import screen as machine
from eetui.setup import estimate_panel
from tests.eetui.machine.fake_reading import FakeMeter
from tests.eetui.setup.fake_estimator import FakeEstimating
from tests.eetui.walks import WAYS, Walk, screens, walk
from tests.scripted_runs import keep_sweep, keep_tokens, make_database

SMALL, LARGE = (80, 24), (160, 50)
SHOW_MORE = ("LiveScreen", "InspectScreen")
"""Screens that show parts on a large terminal which they hide on a small one: both are walked through in CI."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with a sweep, and a first run that has its tokens and a file of weights."""
    path = keep_sweep(make_database(tmp_path_factory.mktemp("walks") / "runs.db"), "night")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    folder = checkpoint_folder(path, 1)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    return path


def cases() -> Iterator[object]:
    for size in (SMALL, LARGE):
        for name in WAYS:
            marks = () if size == SMALL or name in SHOW_MORE else pytest.mark.soak
            yield pytest.param((name, size), id=f"{name}-{size[0]}x{size[1]}", marks=marks)


@pytest.fixture(scope="module", params=cases())
def walked(request: pytest.FixtureRequest, database: Path) -> Iterator[Walk]:
    """Walk through a screen, once for all tests."""
    name, size = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database.parent)
        patch.setenv("EETUI_CACHE", str(database.parent / "cache"))
        patch.setenv("NO_COLOR", "1")
        patch.setattr(estimate_panel, "Estimator", FakeEstimating)
        patch.setattr(machine, "Meter", FakeMeter)
        yield walk(name, database, size)


def test_no_screen_is_forgotten() -> None:
    defined = screens()
    assert set(WAYS) == set(defined), "say in tests/eetui/walks.py how the screen is reached"
    assert {path.partition(":")[2] for path in SCREENS.values()} <= set(defined)


def test_keys_alone_lead_to_it_through_all_of_it_and_away(walked: Walk) -> None:
    assert walked.reached
    assert walked.focused == walked.focusable
    assert not walked.stuck
    assert walked.left


def test_what_its_colours_say_is_said_without_them(walked: Walk) -> None:
    assert walked.no_color
    assert not walked.told_by_colour
    assert not walked.in_two_colours


def test_all_its_colours_are_of_the_theme(walked: Walk) -> None:
    assert not walked.in_no_theme


def test_every_action_has_a_key_with_a_name_for_the_palette() -> None:
    screens()
    kinds = list(nodes())
    of_the_app = {action for kind in kinds for action in named_actions(kind) if action.startswith("app.")}
    without = []
    for kind in kinds:
        named = {action for base in kind.__mro__ for action in named_actions(base)} | of_the_app
        for name in vars(kind):
            action = name.removeprefix("action_")
            if action != name and not {action, f"app.{action}", f"screen.{action}"} & named:
                without.append(f"{kind.__name__}.{name}")
    assert not without


def nodes() -> Iterator[type[DOMNode]]:
    """Yield every widget, screen and app that the package defines."""
    waiting: list[type] = [DOMNode]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("eetui."):
            yield kind


def named_actions(kind: type) -> set[str]:
    """Return the actions that keys of a class call, as far as help and palette name them."""
    bindings = Binding.make_bindings(vars(kind).get("BINDINGS", ()))
    return {one.action.partition("(")[0] for one in bindings if one.id and (one.tooltip or one.description)}
