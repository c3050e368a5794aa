"""The queue is told, put in order and emptied."""

from collections.abc import Sequence
from pathlib import Path

from textual.widgets import OptionList

from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.dialogs import Question
from eetui.console.queue_screen import EMPTY, QueueScreen
from eetui.console.training_thread import Job
from tests.eetui.driving import messages, until_true
from tests.eetui.live.watched import experiment, watching, words
from tests.scripted_runs import config

# The queue


def hold_in_queue(bench: EetuiApp, runs: Sequence[int]) -> None:
    """Let runs wait without anyone to train them."""
    bench.trainer._alive = True
    bench.trainer._jobs += [Job(run, config(), None, None) for run in runs]  # type: ignore[arg-type]


async def test_the_queue_is_told_reordered_and_emptied(database: Path, writer: Writer) -> None:
    runs = experiment(writer, [], [], [], [])
    async with watching(database, runs[1]) as (pilot, bench, screen):
        hold_in_queue(bench, runs)
        await until_true(pilot, lambda: words(screen, "line") == "next: loss-1, loss-2, loss-3, loss-4 · o: queue")
        assert words(screen, "title").startswith("… queued #2")
        await pilot.press("p")
        assert any("waits in the queue" in message for message in messages(bench))
        await pilot.press("o")
        await until_true(pilot, lambda: isinstance(bench.screen, QueueScreen) and bench.screen.query(OptionList))
        await pilot.press("j", "J")
        assert bench.trainer.snapshot.queue == (1, 3, 2, 4)
        await pilot.press("K", "K", "K")
        assert bench.trainer.snapshot.queue == (2, 1, 3, 4)
        await pilot.press("x")
        assert bench.trainer.snapshot.queue == (1, 3, 4)
        with Reader(database) as reader:
            assert reader.run(2)["status"] == "interrupted"
        await pilot.press("X")
        await until_true(pilot, lambda: isinstance(bench.screen, Question))
        await pilot.click("Button")
        assert bench.screen_stack[-1].query_one(OptionList)
        assert bench.trainer.snapshot.queue == ()
        assert EMPTY == "Empty the queue"
        await pilot.press("escape")
        await until_true(pilot, lambda: bench.screen is screen)


async def test_the_queue_list_follows_what_is_trained(database: Path, writer: Writer) -> None:
    runs = experiment(writer, [], [])
    async with watching(database, runs[0]) as (pilot, bench, _):
        hold_in_queue(bench, runs)
        await pilot.press("o", "k", "j")
        options = bench.screen.query_one(OptionList)
        assert options.option_count == 2
        bench.trainer._jobs.pop(0)
        await until_true(pilot, lambda: options.option_count == 1)
        bench.trainer._jobs.pop(0)
        await until_true(pilot, lambda: options.get_option_at_index(0).disabled)
