"""The main screens as pictures, at the smallest size they are made for and at a comfortable one, dark and light.

After a change that is meant: `python -m pytest tests/eetui/test_snapshots.py --snapshot-update`, and look at them.
"""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.settings import Settings
from eetui.drawing import chart
from eetui.machine import screen as machine
from eetui.setup import estimate_panel
from tests.eetui.machine.fake_reading import FakeMeter
from tests.eetui.setup.fake_estimator import FakeEstimating
from tests.scripted_runs import keep_sweep, keep_tokens, make_database

KEYS = {
    "runs": ["down", "space"],
    "live": ["/", *"stopped", "enter", "enter"],
    "compare": ["end", "c"],
    "inspect": ["end", "i", "right"],
    "new": ["n"],
    "help": ["question_mark"],
    "sweeps": ["W"],
    "heat": ["W", "2"],
    "machine": ["U"],
}
"""How each screen is reached from the first one."""


@pytest.fixture
def database(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate_panel, "Estimator", FakeEstimating)
    monkeypatch.setattr(chart, "SECONDS_BETWEEN", 0.1)
    monkeypatch.setattr(machine, "Meter", FakeMeter)
    monkeypatch.setattr(machine, "REMEMBERED", 1)
    monkeypatch.setattr(machine, "host", lambda: "bench · Linux, x86_64")
    places = {Path("/data"): "database", Path("/data/runs.db.checkpoints"): "checkpoints", Path("/cache"): "caches"}
    monkeypatch.setattr(machine.MachineScreen, "_places", lambda screen: places)
    if name in ("sweeps", "heat"):
        return keep_sweep(Path("runs.db"), "rates")
    path = make_database(Path("runs.db"))
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    return path


PICTURES = list(product(((80, 24), (160, 50)), ("eetui-dark", "eetui-light")))
"""Of each screen; one of them is taken in CI, and all in `make soak`."""


def pictures() -> Iterator[Any]:
    for number, name in enumerate(KEYS):
        for picture, (size, theme) in enumerate(PICTURES):
            taken = picture == 3 * number % 4
            case = f"{name}-{size[0]}x{size[1]}-{theme}"
            yield pytest.param(name, size, theme, id=case, marks=() if taken else pytest.mark.soak)


@pytest.mark.parametrize(("name", "size", "theme"), pictures())
def test_screen(
    name: str, size: tuple[int, int], theme: str, database: Path, snap_compare: Callable[..., bool]
) -> None:
    async def go(pilot: Pilot[None]) -> None:
        await settle(pilot)
        for key in KEYS[name]:
            await pilot.press(key)
        await settle(pilot)

    assert snap_compare(EetuiApp(database, Settings(theme=theme)), terminal_size=size, run_before=go)


async def settle(pilot: Pilot[None]) -> None:
    """Until the screen has stayed as it is for longer than anything on it waits."""
    before, same = "", 0
    for _ in range(100):
        await pilot.pause(0.2)
        now = pilot.app.export_screenshot()
        same = same + 1 if now == before else 0
        if same == 2:
            return
        before = now
    raise AssertionError("the screen does not come to rest")
