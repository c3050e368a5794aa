"""Driving a console in a test."""

import asyncio
from collections.abc import Callable

from textual.pilot import Pilot

from eetui.console.bench import Bench


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()
    await pilot.pause()


async def until_true(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    for _ in range(1500):
        if condition():
            return
        assert pilot.app.is_running, "the console is gone"
        await asyncio.sleep(0.02)
    raise AssertionError("waited for too long")


def messages(bench: Bench) -> list[str]:
    return [notification.message for notification in bench._notifications]


def screen_text(bench: Bench) -> str:
    """Return what the terminal shows, without colours and attributes."""
    strips = bench.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
