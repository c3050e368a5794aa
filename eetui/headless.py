"""Training without a screen: progress on stderr, and what Ctrl-C does."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from core.events import (
    Epoch,
    Event,
    Measured,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
    perplexity,
)
from core.state import RunState, StageState, reduce
from eetui.renderables.figures import duration


class Headless:
    """Follows an experiment on stderr: a live line on a terminal, and one line for everything worth keeping."""

    def __init__(self, names: Mapping[int, str], console: Console) -> None:
        self.names, self.console = names, console
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

    def publish(self, run: int, events: Sequence[Event]) -> None:
        """Show what happened; the listener of `core.session`."""
        for event in events:
            self.states[run] = state = reduce(self.states[run], event)
            if (line := line_of(event, state)) is not None:
                self.console.print(Text(f"{self.names[run]}  {line}"), soft_wrap=True)
        if self.console.is_terminal and self.states[run].stages:
            self._show(run, self.states[run].stages[-1])

    def _show(self, run: int, stage: StageState) -> None:
        done = max(stage.epoch - 1, 0) * stage.steps + stage.step
        self.progress.update(
            self._bar,
            description=f"{self.names[run]} {stage.name} {max(stage.epoch, 1)}/{stage.epochs}",
            completed=done,
            total=max(stage.epochs * stage.steps, 1),
            figures=live_figures(stage),
            visible=stage.seconds is None,
        )


def line_of(event: Event, state: RunState) -> str | None:
    """What is worth a line of its own, or None."""
    match event:
        case RunStarted():
            return (
                f"starts: {event.train_tokens:,} training and {event.eval_tokens:,} evaluation tokens, vocabulary "
                f"{event.vocab_size:,}, {event.parameters:,} parameters"
            )
        case StageStarted(stage=stage, reused=True):
            return f"{stage}  reused from a sibling run or this run's checkpoint"
        case Epoch():
            return _epoch_line(event, state)
        case Threshold():
            share = event.hard_tokens / event.tokens
            return f"{event.stage}  threshold {event.threshold:.4f}  hard tokens {event.hard_tokens:,} ({share:.1%})"
        case Measured():
            return _measured_line(event)
        case Warned():
            return f"! {event.message}"
        case RunFinished():
            return f"finished in {duration(event.seconds)}, peak memory {event.peak_memory / 2**20:,.0f} MiB"
        case RunFailed():
            return f"failed: {event.message}\n{event.traceback}".rstrip()
        case RunInterrupted():
            return f"interrupted: {event.reason}"
        case Step() | StageStarted() | StageEnded() | TokensMeasured():
            return None


def _epoch_line(event: Epoch, state: RunState) -> str:
    stage = next(stage for stage in state.stages if stage.name == event.stage)
    parts = [f"{event.stage}  epoch {event.epoch}/{stage.epochs}  loss {event.loss:.4f}"]
    if event.val_loss is not None:
        parts.append(
            f"val PPL {perplexity(event.val_loss):.2f}{'' if event.improved else f' (patience {event.patience_left})'}"
        )
    if event.exit_loss is not None and event.val_loss is not None:
        parts.append(f"exit loss {event.exit_loss:.4f}")
    if event.avg_label is not None:
        parts.append(f"avg_label {event.avg_label:.4f}")
    parts.append(duration(event.seconds))
    return "  ".join(parts + _pace(stage, stage.tokens * (stage.epochs - event.epoch)))


def _measured_line(event: Measured) -> str:
    """Where tokens leave is worth telling only where they leave at different blocks."""
    line = (
        f"{event.stage}  {event.name}: PPL {perplexity(event.loss):.2f} ({event.split}, {event.token_set} tokens)  "
        f"accuracy {event.accuracy:.2%}"
    )
    if max(event.exit_shares) < 1:
        line += f"  left early {event.shallow_ratio:.1%}  layer savings {event.layer_savings:.1%}"
    return line


def live_figures(stage: StageState) -> str:
    """Loss, rate and time left of a stage in progress; with early stopping the time left is an upper bound."""
    parts = []
    if stage.step_loss is not None:
        parts.append(f"loss {stage.step_loss:.3f}")
    if stage.val_ppl is not None:
        parts.append(f"val PPL {stage.val_ppl:.1f}")
    if stage.avg_label is not None:
        parts.append(f"avg_label {stage.avg_label:.3f}")
    return "  ".join(parts + _pace(stage, max(stage.tokens * stage.epochs - stage.step_tokens, 0)))


def _pace(stage: StageState, tokens_left: int) -> list[str]:
    """Rate and time left; an upper bound where the stage may stop early."""
    rate = stage.tokens_per_second
    if not rate:
        return []
    return [f"{rate:,.0f} tok/s", f"ETA {'≤ ' if stage.kind == 'lm' else ''}{duration(tokens_left / rate)}"]


class Stop:
    """Whether Ctrl-C was pressed: the first asks the run to end after its step, the second leaves at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM while the block runs."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(130)
        self.asked = True
        os.write(sys.stderr.fileno(), b"\nfinishing the step; press Ctrl-C again to leave at once\n")
