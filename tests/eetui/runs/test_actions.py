"""Actions on runs of the list: names, tags, notes, files, deletion, cancelling; and live rows."""

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from textual.widgets import Button, Input, Static

from core.events import RunFinished
from core.store.liveness import GONE
from core.store.reader import Query, Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.dialogs import Prompt, Question
from eetui.runs.actions import ListActions
from eetui.runs.screen import RunsScreen
from tests.eetui.driving import messages, press, until_true
from tests.eetui.runs.list_console import Opened, lines, preview_text, shown, status_of, table, text_of
from tests.scripted_runs import add, append, scripted, tiny_plan, until


def problem(bench: EetuiApp) -> str:
    return str(bench.screen.query_one(".problem", Static).render())


# Names, tags, notes


async def test_a_run_is_renamed_and_bad_names_are_refused(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "end", "R")
        assert isinstance(bench.screen, Prompt)
        field = bench.screen.query_one(Input)
        assert field.value == "loss-1"
        for name, why in (("softmax-3", "taken by run 3"), ("12", "must not be a number"), (" ", "printable")):
            field.value = name
            await press(pilot, "enter")
            assert why in problem(bench)
        field.value = "the best"
        await press(pilot, "enter")
        await until_true(pilot, lambda: "the best" in lines(bench)[7])
        assert table(bench).run == 1


async def test_a_prompt_that_is_left_changes_nothing(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "end")
        for key in "RtN":
            await press(pilot, key, "x", "escape")
        row = bench.reader.run(1)
    assert (row["name"], row["tags"], row["notes"]) == ("loss-1", ["tiny"], [])


async def test_tags_are_edited_as_words(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(200, 60)) as pilot:
        await press(pilot, "end", "t")
        field = bench.screen.query_one(Input)
        assert field.value == "tiny"
        field.value = "fast " + "x" * 201
        await press(pilot, "enter")
        assert "a tag must be" in problem(bench)
        field.value = " fast  good fast "
        await press(pilot, "enter")
        await until_true(pilot, lambda: "fast good" in lines(bench)[7])
        assert bench.reader.run(1)["tags"] == ["fast", "good"]
        await press(pilot, "t")
        bench.screen.query_one(Input).value = ""
        await press(pilot, "enter")
        await until_true(pilot, lambda: bench.reader.run(1)["tags"] == [])


async def test_a_note_is_added_and_seen_in_the_preview(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(160, 50)) as pilot:
        await press(pilot, "end", "N")
        await press(pilot, "enter")
        assert "the note must be" in problem(bench)
        await press(pilot, *"good", "enter")
        await until_true(pilot, lambda: "note: good" in preview_text(bench))
        assert [note["text"] for note in bench.reader.run(1)["notes"]] == ["good"]


# Copy and export


async def test_the_recorded_command_is_copied_or_an_equivalent_made(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET record = json_set(record, '$.command', 'eetui') WHERE id = 2")
    connection.close()
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "end", "y", "up", "y")
        recorded, made = (text for _, text in bench.asked)
        assert recorded == "eetui run --no-ui"
        assert str(made).startswith("eetui run --preset quick --method distill --seed 42 --set")
        assert str(made).endswith("--tag tiny")


@pytest.mark.parametrize("kind", ["md", "csv", "json"])
async def test_the_list_shown_is_exported(database: Path, kind: str) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "slash", *"tag:tiny", "enter", "e")
        assert isinstance(bench.screen, Question)
        assert "3 runs" in bench.screen.text
        next(button for button in bench.screen.query(Button) if button.name == kind).press()
        await until_true(pilot, lambda: messages(bench))
        path = Path(f"eetui-exports/runs.{kind}").resolve()
        assert messages(bench) == [f"exported to {path}"]
    text = path.read_text()
    assert [text.count(name) for name in ("softmax-3", "distill-2", "loss-1", "correct-6")] == [1, 1, 1, 0]
    assert kind != "json" or len(json.loads(text)) == 3


async def test_an_export_can_be_left(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "e", "escape")
        assert isinstance(bench.screen, RunsScreen)
    assert not Path("eetui-exports").exists()


# Deleting


async def test_a_deleted_run_is_gone_at_once_and_in_the_bin(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "down", "d")
        await until_true(pilot, lambda: shown(bench) == [6, 4, 3, 2, 1])
        assert table(bench).run == 4
        assert text_of(bench, "#title").endswith("5 runs · 1 queued · 1 deleted, u undoes")
        assert [row["id"] for row in bench.reader.runs(Query(deleted=True))] == [5]
        await press(pilot, "q")
        await until_true(pilot, lambda: bench._exit)
    with Writer(database) as writer, Reader(database) as reader:
        assert [row["id"] for row in reader.runs()] == [1, 2, 3, 4, 6]
        assert writer.restore([5]) == ["stopped-early"]


async def test_undo_brings_back_batch_by_batch(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "end", "d", "space", "space", "d")
        assert bench.marked == {}
        await until_true(pilot, lambda: len(shown(bench)) < 5)
        await press(pilot, "u")
        await until_true(pilot, lambda: shown(bench) == [6, 5, 4, 3, 2])
        await press(pilot, "u", "u")
        await until_true(pilot, lambda: shown(bench) == [6, 5, 4, 3, 2, 1])
        await press(pilot, "q")
        await until_true(pilot, lambda: bench._exit)
    with Reader(database) as reader:
        assert reader.count() == 6
        assert reader.run(1)["name"] == "loss-1"


async def test_undo_leaves_what_somebody_else_brought_back(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "end", "d", "d")
        await until_true(pilot, lambda: shown(bench) == [6, 5, 4, 3])
        with Writer(database) as writer:
            writer.restore([2])
        await press(pilot, "u", "u", "u")
        await until_true(pilot, lambda: shown(bench) == [6, 5, 4, 3, 2, 1])
        assert messages(bench) == []


async def test_the_marked_runs_are_deleted_but_no_live_one(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "space", "space", "space", "d")
        assert shown(bench) == [6, 3, 2, 1]
        assert list(bench.marked) == [6]
        assert "correct-6 can't be deleted while live" in messages(bench)[0]
        await press(pilot, "A", "home", "d")
        assert shown(bench)[0] == 6


async def test_a_run_that_was_resumed_meanwhile_is_not_deleted(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        monkeypatch.setattr(ListActions, "_live_ones", lambda actions, runs: {})  # as it looked a moment ago
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE runs SET status = 'running' WHERE id = 5")
        connection.close()
        await press(pilot, "down", "d")
        await until_true(pilot, lambda: messages(bench))
        assert "stopped-early (run 5) is running: stop it first" in messages(bench)[0]
        assert bench.reader.count() == 6


# Cancelling and resuming


async def test_another_processs_run_is_to_be_stopped_there(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "x")
        assert f"process {os.getpid()} on {socket.gethostname()}" in messages(bench)[0]
        await press(pilot, "end", "x")
        assert "loss-1 is finished: there is nothing to cancel" in messages(bench)[1]
    assert status_of(database, 6) == "queued"


async def test_what_did_not_finish_is_resumed(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "r", "down", "r", "down", "r", "end", "r")
        assert bench.asked == [("resume", [5]), ("resume", [4])]
        assert "correct-6 is queued: only" in messages(bench)[0]
        assert "loss-1 is finished: only" in messages(bench)[-1]


async def test_runs_of_this_console_show_their_queue_and_are_cancelled(database: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{number * number % 17}" for number in range(3000)))
    bench = EetuiApp(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        bench.train(tiny_plan(text, "loss", "softmax", max_epochs=5000, patience=5000))
        await until_true(pilot, lambda: "%" in lines(bench)[3])
        assert "queued #1" in lines(bench)[2]
        bench.trainer.pause()
        await until_true(pilot, lambda: "‖ paused" in lines(bench)[3])
        await press(pilot, "home", "x")
        await until_true(pilot, lambda: "interrupted" in lines(bench)[2])
        assert "‖ paused" in lines(bench)[3]
        await press(pilot, "down", "x")
        await until_true(pilot, lambda: "interrupted" in lines(bench)[3])
        assert "… queued " in lines(bench)[4]  # queued by another process


# Live rows of other processes


async def test_a_run_of_another_process_moves_on_by_itself(database: Path) -> None:
    bench = Opened(database)
    events = list(scripted())
    async with bench.run_test(size=(80, 24)) as pilot:
        with Writer(database) as writer:
            run = add(writer, events[:4])
            await until_true(pilot, lambda: len(shown(bench)) == 7)
            assert "  1%" in lines(bench)[2]
            assert text_of(bench, "#title").endswith("1 running · 1 queued")
            half = until(scripted(), "block1.lm", 2)
            append(writer, run, half[4:], half[:4])
            await until_true(pilot, lambda: "55%" in lines(bench)[2])
            append(writer, run, events[len(half) :], half)
            await until_true(pilot, lambda: "finished" in lines(bench)[2])
        assert isinstance(events[-1], RunFinished)
        assert "12.5s" in lines(bench)[2]


async def test_runs_of_a_dead_process_are_told_apart_before_anybody_writes_so(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET pid = 2147483646, status = 'running' WHERE id = 6")
    connection.close()
    monkeypatch.setattr(ListActions, "close_books", lambda actions: None)
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await until_true(pilot, lambda: "interrupted" in lines(bench)[2])
        assert text_of(bench, "#title").endswith("6 runs")
        assert GONE in text_of(bench, "#line")


async def test_runs_of_a_dead_process_are_told_apart(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET pid = 2147483646 WHERE id = 6")
    connection.close()
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await until_true(pilot, lambda: "interrupted" in lines(bench)[2])


# Help and palette


async def test_every_key_has_an_id_of_its_own_and_says_what_it_does(database: Path) -> None:
    from eetui.console.keys import active_keys

    bench = Opened(database)
    async with bench.run_test() as pilot:
        await pilot.pause()
        keys = {key.id: key for key in active_keys(bench, bench.screen)}
        wanted = (
            "filter clear mark mark_all mark_none compare inspect generate sort reverse preview cancel resume export "
            "rename tag note copy delete undo open up down page_up page_down first last"
        )
        assert {f"runs.{name}" for name in wanted.split()} <= set(keys)
        assert all(key.does for key in keys.values())
