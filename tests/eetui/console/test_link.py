"""A bound on what is written to the terminal."""

from pathlib import Path

from eetui.app import EetuiApp
from eetui.console.link import Link
from eetui.console.settings import Settings


def test_what_was_written_takes_its_time() -> None:
    now = [0.0]
    link = Link(1000, clock=lambda: now[0])
    assert link.free
    link.wrote(1500)
    now[0] = 1.4
    assert not link.free
    link.wrote(100)
    now[0] = 1.61
    assert link.free


def test_without_a_bound_it_is_always_free() -> None:
    link = Link(None)
    link.wrote(10**9)
    assert link.free


async def test_screens_wait_for_a_slow_link_and_show_what_is_new_afterwards(six_runs: Path) -> None:
    bench = EetuiApp(six_runs, Settings(kib_per_second=1e-3))
    async with bench.run_test() as pilot:
        await pilot.press("question_mark")
        await pilot.press("escape")
        with bench.writing() as writer:
            writer.rename(6, "renamed")
        seen = bench._seen
        bench.look_for_news()
        assert bench._seen == seen
        bench._link._level = 0.0
        bench.look_for_news()
        assert bench._seen != seen
