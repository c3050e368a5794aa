"""What the keys of the Live screen do to its run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.store.writer import Writer
from eetui.app import EetuiApp
from tests.eetui.driving import messages
from tests.eetui.live.watched import HALF, STOPPED, experiment, watching, words
from tests.scripted_runs import add, scripted

# Keys of the run


async def test_a_run_of_another_process_is_not_paused_but_says_whose_it_is(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, bench, _):
        await pilot.press("p")
        await pilot.press("x")
        assert any("loss-1 belongs to process" in message and "pause" in message for message in messages(bench))
        assert any("stop it there" in message for message in messages(bench))


async def test_what_is_over_is_neither_paused_nor_cancelled(database: Path, writer: Writer) -> None:
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, bench, _):
        await pilot.press("space", "x", "r")
        said = " | ".join(messages(bench))
        assert "loss-1 is finished" in said
        assert "nothing to cancel" in said
        assert "only interrupted and failed runs can be resumed" in said


async def test_an_interrupted_run_is_resumed(database: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    run = add(writer, [*HALF, STOPPED])
    asked: list[Sequence[int]] = []
    monkeypatch.setattr(EetuiApp, "resume_runs", lambda _, runs: asked.append(runs))
    async with watching(database, run) as (pilot, _, screen):
        assert "r lets it go on" in words(screen, "line")
        await pilot.press("r")
        assert asked == [[run]]


async def test_inspect_compare_mark_and_copy(database: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = experiment(writer, list(scripted()), list(scripted()))
    opened: list[object] = []
    monkeypatch.setattr(EetuiApp, "open", lambda _, screen, *runs: opened.append((screen, *runs)))
    monkeypatch.setattr(EetuiApp, "copy", lambda _, text: opened.append(text))
    async with watching(database, runs[0]) as (pilot, bench, _):
        await pilot.press("i", "c", "y")
        assert opened[:2] == [("inspect", runs[0]), ("compare", *runs)]
        assert str(opened[2]).startswith("eetui run")
        await pilot.press("m")
        assert list(bench.marked) == [runs[0]]
        await pilot.press("m")
        assert not bench.marked
