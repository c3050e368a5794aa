"""The Machine screen: read once a second by a thread while it is in view, and not at all otherwise."""

import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from core.data.cache import cache_dir
from core.machine.reading import Meter, Reading
from core.store.files import beside, real_path
from eetui.console.screen import BenchScreen
from eetui.drawing.palette import palette
from eetui.drawing.steady_footer import SteadyFooter
from eetui.drawing.steady_text import SteadyText
from eetui.machine.text import Shown, cpu_pane, disk_pane, gpu_pane, memory_pane, process_pane

SECONDS = 1.0
"""Interval between two readings, each of which takes about two milliseconds of a thread."""
REMEMBERED = 60
"""Readings whose processor use is drawn."""
COLUMNS = (("cpu", "memory", "disk"), ("gpu", "processes"))
"""Panes of the left and of the right column; on a narrow screen one column follows the other."""
AIRY = 30
"""Height of a screen, in rows, from which there are empty lines between panes."""


class MachineScreen(BenchScreen):
    """Processors, memory, GPUs, processes and disks of the machine that the console runs on."""

    TITLE = "Machine"
    AUTO_FOCUS = "#panes"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (130, "-wide")]  # noqa: RUF012  # declared by Textual
    HELP_TEXT = (
        "What the machine that this console runs on is doing, read once a second while you look. CPU counts the cores "
        "that this process may use: 100% of a process is one of them. Processes are this console, those that train "
        "runs of this database on this machine, and those that compute on a GPU of NVIDIA's. ! marks what runs short."
    )
    CSS = """
    MachineScreen {
        #title { height: 1; padding: 0 1; background: $panel; }
        #panes { height: 1fr; scrollbar-size-vertical: 1; }
        .column { height: auto; padding: 0 1; }
        SteadyText { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    MachineScreen.-wide {
        #panes { layout: horizontal; }
        .column { width: 1fr; padding: 1 2; }
    }
    MachineScreen.-airy SteadyText { margin-bottom: 1; }
    """

    @dataclass
    class Taken(Message):
        """A thread has taken a reading."""

        reading: Reading

    def __init__(self, take: Callable[[Sequence[int], Sequence[Path]], Reading] | None = None) -> None:
        """Create the screen.

        Args:
            take: takes a reading of processes and of the disks of folders; None: a meter does.
        """
        super().__init__()
        self._take = take or Meter().read
        self._timer: Timer | None = None
        self._taking = False
        self._busy: deque[float] = deque(maxlen=REMEMBERED)
        self._own, self._names = "this console", dict[int, str]()
        self.reading: Reading | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with VerticalScroll(id="panes"):
            for column in COLUMNS:
                with Vertical(classes="column"):
                    yield from (SteadyText(id=pane) for pane in column)
        yield SteadyFooter()

    def on_mount(self) -> None:
        self._timer = self.set_interval(SECONDS, self.take)
        self.query_one("#title", Static).update(Text.assemble(("Machine  ", "bold"), host()))
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show())

    def on_screen_resume(self) -> None:
        if self._timer is not None:
            self._timer.resume()
        self.call_later(self.take)

    def on_screen_suspend(self) -> None:
        """Read nothing while another screen is in view."""
        if self._timer is not None:
            self._timer.pause()

    def on_resize(self) -> None:
        self.set_class(self.size.height >= AIRY, "-airy")
        self.call_after_refresh(self._show)

    # Readings

    def take(self) -> None:
        """Have a thread take a reading, unless one does."""
        if not self._taking and self.ready and self.bench.link_free:
            self._taking = True
            self.bench.attempt(self._find_names)
            self._read(list(self._names), list(self._places()))

    def _find_names(self) -> None:
        """Name what this process and others of this machine train."""
        trained: dict[int, list[str]] = {}
        for row in self.bench.reader.live():
            if row["status"] == "running":
                run = self.bench.reader.run(row["id"])
                if run["host"] == socket.gethostname() and run["pid"]:
                    trained.setdefault(run["pid"], []).append(row["name"])
        own = trained.pop(os.getpid(), [])
        self._own = ", ".join(("this console", *(f"trains {name}" for name in own)))
        self._names = {pid: f"trains {', '.join(names)}" for pid, names in trained.items()}

    def _places(self) -> dict[Path, str]:
        file = real_path(self.bench.database)
        return {file.parent: "database", beside(file, 0).parent: "checkpoints", cache_dir(): "caches"}

    @work(thread=True, group="machine", exit_on_error=False)
    def _read(self, pids: Sequence[int], folders: Sequence[Path]) -> None:
        self.post_message(self.Taken(self._take(pids, folders)))

    def on_machine_screen_taken(self, event: Taken) -> None:
        self._taking = False
        self.reading = event.reading
        if event.reading.busy_cores is not None:
            self._busy.append(event.reading.busy_cores / max(1, event.reading.cores))
        self._show()

    # Display

    def _show(self) -> None:
        if self.reading is None or not self.ready:
            return
        style = palette(self.app.theme_variables)
        shown = Shown(self.reading, tuple(self._busy), self._own, self._names, self._places())
        draw: dict[str, Callable[[int], Text]] = {
            "cpu": lambda width: cpu_pane(shown, width, style),
            "memory": lambda width: memory_pane(shown, width, style),
            "gpu": lambda width: gpu_pane(shown, width, style),
            "processes": lambda width: process_pane(shown, width),
            "disk": lambda width: disk_pane(shown, width, style, folders=self.has_class("-airy")),
        }
        for name, pane in draw.items():
            place = self.query_one(f"#{name}", SteadyText)
            if place.size.width:  # else it has no place yet: a resize shows it then
                place.show(pane(place.size.width))


def host() -> str:
    """Name the machine and its system."""
    return f"{socket.gethostname()} · {platform.system()}, {platform.machine()}"
