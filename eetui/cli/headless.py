"""Training without the console: progress on stderr, and Ctrl-C."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from core.events import Event, Publish, RunFailed, RunFinished, RunInterrupted
from core.parallel.launch import is_follower, launch
from core.state import RunState, StageState, Status, reduce
from eetui.cli.harmless_console import HarmlessConsole
from eetui.cli.options import on_database, output
from eetui.cli.streams import NobodyReadsError
from eetui.console.on_end import tell_end
from eetui.console.settings import load_settings
from eetui.summary.log_lines import line_of, live_figures
from eetui.summary.progress import all_steps, steps_done

if TYPE_CHECKING:
    from core.session.run import Training
    from eetui.console.training_thread import Request
    from eetui.trackers.contract import Trackers

INTERRUPTED = 130
ENDS: dict[type, Status] = {RunFinished: "finished", RunFailed: "failed", RunInterrupted: "interrupted"}
"""Statuses of the events that end a run."""


class Headless:
    """Shows an experiment on stderr: a live line on a terminal, and a line for each notable event."""

    def __init__(self, names: Mapping[int, str], console: Console, database: Path) -> None:
        self.database, self.on_end = database, load_settings().on_end
        self.names, self.console = dict(names), console
        self.states = {run: RunState() for run in names}
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self.progress.add_task("", total=1, figures="", visible=False)

    def begin(self, run: int, name: str) -> None:
        """Show a run from its beginning, whatever was shown of it before."""
        self.names[run], self.states[run] = name, RunState()

    def publish(self, run: int, events: Sequence[Event]) -> None:
        """Show a run's events; called by `core.session.run`."""
        for event in events:
            self.states[run] = state = reduce(self.states[run], event)
            if (line := line_of(event, state)) is not None:
                self.console.print(Text(f"{self.names[run]}  {line}"), soft_wrap=True)
            if status := ENDS.get(type(event)):
                self._tell_end(run, status)
        if self.console.is_terminal and self.states[run].stages:
            self._show(run, self.states[run].stages[-1])

    @contextmanager
    def publishing(self, stop: "Stop", mirrors: "Trackers") -> "Iterator[Publish]":
        """Yield what shows events and tells trackers of them, while the block runs and signals ask to stop."""
        from eetui.trackers.live import Mirrors, with_mirrors

        with stop.listening(), self.progress, Mirrors(mirrors, self.database, self.warn).running() as mirroring:
            yield with_mirrors(self.publish, mirroring)

    def warn(self, message: str) -> None:
        """Show a warning that is about no run."""
        self.console.print(Text(f"warning: {message}", "yellow"), soft_wrap=True)

    def _tell_end(self, run: int, status: str) -> None:
        if not is_follower() and (why := tell_end(self.on_end, self.database, run, self.names[run], status)):
            self.console.print(Text(f"{self.names[run]}  ! {why}"), soft_wrap=True)

    def _show(self, run: int, stage: StageState) -> None:
        self.progress.update(
            self._bar,
            description=f"{self.names[run]} {stage.name} {max(stage.epoch, 1)}/{stage.epochs}",
            completed=steps_done(stage),
            total=max(all_steps(stage), 1),
            figures=live_figures(stage),
            visible=stage.seconds is None,
        )


class Stop:
    """Whether a signal asks the run to end after its step: Ctrl-C, SIGTERM, or SIGHUP of a terminal that is closed.

    A second Ctrl-C or SIGTERM leaves at once. SIGHUP never does: terminal and shell both send it. Nor does any of
    several processes: terminal and torchrun both send theirs, and the others wait for each.

    Attributes:
        code: the exit code of who was asked by the signal, 128 and its number; 0 before.
    """

    def __init__(self) -> None:
        self.code = 0

    def __call__(self) -> bool:
        return self.code > 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while the block runs, SIGHUP unless it is ignored, as under nohup."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.code and number != signal.SIGHUP and launch() is None:
            os._exit(128 + number)
        repeated, self.code = bool(self.code), self.code or 128 + number
        if is_follower() or (repeated and launch() is not None):
            return
        with suppress(OSError):  # the terminal is gone
            hint = b"" if launch() else b"; press Ctrl-C again to leave at once"
            os.write(2, b"\nfinishing the step" + hint + b"\n")


def train_headless(
    request: "Request",
    database: Path,
    *,
    as_json: bool = False,
    mirrors: "Trackers" = (),
    training: "Training | None" = None,
) -> int:
    """Train the requested runs, print the profiles of those that have one, and return the exit code.

    Args:
        mirrors: trackers that get the events too (`eetui.trackers.live.parsed`).
        training: what trains each run; None: this process.
    """
    from core.session import run as session
    from core.store.writer import Writer
    from eetui.summary.shown_reader import ShownReader

    console, stop = HarmlessConsole(sys.stderr), Stop()
    try:
        with Writer(database) as store:
            with console.status("reading the corpus") if console.is_terminal else nullcontext():
                prepared = request(store)
            with ShownReader(database) as reader:
                names = {number: str(reader.run(number)["name"]) for number in prepared.runs}
            headless = Headless(names, console, database)
            with headless.publishing(stop, mirrors) as publish:
                statuses = session.run_experiment(prepared, store, publish, stop, training)
    except KeyboardInterrupt:
        return INTERRUPTED
    if prepared.profile:
        with suppress(NobodyReadsError):
            _print_profiles(headless, as_json=as_json)
    ended = {
        wanted: [str(number) for number, status in zip(prepared.runs, statuses, strict=True) if status == wanted]
        for wanted in ("finished", "interrupted")
    }
    seen = "side by side: eetui compare" if len(ended["finished"]) > 1 else "its figures: eetui show"
    for those, advice in ((ended["finished"], seen), (ended["interrupted"], "to go on: eetui resume")):
        if those:
            print(f"{advice} {' '.join(those)}{on_database(database)}", file=sys.stderr)
    return exit_code(statuses, stop.code or INTERRUPTED)


def _print_profiles(headless: Headless, *, as_json: bool) -> None:
    """Print each run's profile on standard output; as JSON every run's, else those of runs that ended a stage."""
    from eetui.summary.profile import is_profiled
    from eetui.summary.profile_text import profile_tables, profiles_json

    if as_json:
        print(profiles_json(headless.states, headless.names))
        return
    out = output()
    for run, state in headless.states.items():
        if is_profiled(state):
            out.print(Text(f"{headless.names[run]} (run {run})", "bold"), profile_tables(state), sep="\n")


def exit_code(statuses: Sequence[Status], interrupted: int = INTERRUPTED) -> int:
    """0 if all finished, 1 if none did, 3 if some failed; if any was interrupted, the code of that."""
    if "interrupted" in statuses:
        return interrupted
    if "failed" not in statuses:
        return 0
    return 3 if "finished" in statuses else 1
