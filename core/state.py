"""State of a run, computed from its events: `state = reduce(state, event)` is pure, so all screens show the same."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce as fold
from itertools import groupby
from typing import Literal

from core.events import (
    Epoch,
    Event,
    Measured,
    Priced,
    Profiled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    Savings,
    StageEnded,
    StageKind,
    StageStarted,
    Step,
    Strided,
    Threshold,
    TokensMeasured,
    Warned,
    Way,
    epoch_of_step,
)
from core.formulas import bits_at, perplexity

Status = Literal["queued", "running", "finished", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("queued", "running", "finished", "failed", "interrupted")
LIVE: tuple[Status, ...] = ("queued", "running")
"""Statuses of runs that have not ended."""


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage so far.

    Attributes:
        epoch, step: last completed epoch and step, counted from 1; 0 before the first.
        step_loss: loss of the last step.
        step_tokens, step_seconds: sums over the steps so far, for the rate.
        seconds: duration of the whole stage; None before its end.
        flops: FLOPs of a step per token; 0 where they are not known.
        profile: profile of the stage; None before its end, or if it is not profiled.
        bytes_per_token, val_bytes_per_token: as in `StageStarted`.
    """

    name: str
    kind: StageKind
    block: int | None
    epochs: int
    steps: int
    tokens: int
    reused: bool = False
    epoch: int = 0
    step: int = 0
    step_loss: float | None = None
    step_tokens: int = 0
    step_seconds: float = 0.0
    history: tuple[Epoch, ...] = ()
    threshold: Threshold | None = None
    seconds: float | None = None
    flops: float = 0.0
    profile: Profiled | None = None
    bytes_per_token: float | None = None
    val_bytes_per_token: float | None = None

    @property
    def best(self) -> Epoch | None:
        """Epoch whose weights were kept: the last that improved."""
        return next((epoch for epoch in reversed(self.history) if epoch.improved), None)

    @property
    def val_ppl(self) -> float | None:
        """Best PPL on the early-stopping split."""
        return None if self.best is None or self.best.val_loss is None else perplexity(self.best.val_loss)

    def val_bits(self, loss: float | None) -> float | None:
        """Return the bits per byte of a loss on the early-stopping split; None if its bytes are not known."""
        return None if loss is None else bits_at(loss, self.val_bytes_per_token)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second over the steps so far."""
        return self.step_tokens / self.step_seconds if self.step_seconds else None

    @property
    def flops_per_second(self) -> float | None:
        """FLOP/s over the steps so far."""
        return self.tokens_per_second * self.flops if self.tokens_per_second and self.flops else None

    @property
    def avg_label(self) -> float | None:
        """Mean exit label of the last epoch in which a classifier was fitted."""
        return self.history[-1].avg_label if self.history else None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run so far; the default is a run that has not started."""

    status: Status = "queued"
    started: RunStarted | None = None
    stages: tuple[StageState, ...] = ()
    measured: tuple[Measured, ...] = ()
    savings: Savings | None = None
    strided: Strided | None = None
    priced: Priced | None = None
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    peak_memory: int | None = None
    error: str | None = None
    traceback: str | None = None

    def stage(self, kind: StageKind, block: int | None = None) -> StageState | None:
        """Return the last started stage of that kind and block: an exit that needs the later blocks is set twice."""
        return next((stage for stage in reversed(self.stages) if stage.kind == kind and stage.block == block), None)

    def measure(self, way: Way, block: int | None = None) -> Measured | None:
        """Return the result of that way through the model on the evaluation split; None if there is none."""
        wanted = (way, block, "eval")
        return next((found for found in self.measured if (found.way, found.block, found.split) == wanted), None)

    def shares_as_set(self, blocks: int) -> tuple[float, ...]:
        """Return the share of the tokens that left at each block where the thresholds were set, `[K]`."""
        staying, shares = 1.0, list[float]()
        for block in range(blocks - 1):
            stage = self.stage("hard tokens", block)
            found = stage.threshold if stage else None
            stays = found.hard_tokens / found.tokens if found and found.tokens else 1.0
            shares.append(staying * (1 - stays))
            staying *= stays
        return (*shares, staying)

    @property
    def eval_bytes_per_token(self) -> float | None:
        """Mean UTF-8 bytes of the evaluation targets; None before the start and in older logs."""
        if self.started is None or not self.started.eval_bytes:
            return None
        return self.started.eval_bytes / self.started.eval_tokens

    @property
    def final(self) -> Measured | None:
        """Result of the run: early exit on the evaluation split."""
        return self.measure("early exit")


def reduce(state: RunState, event: Event) -> RunState:
    """Return the state after the event. Never raises on a well-formed event stream."""
    match event:
        case RunStarted():
            return RunState(status="running", started=event)
        case StageStarted():
            return replace(state, stages=(*state.stages, _begun(event)))
        case Step() | Epoch() | Threshold() | Profiled() | StageEnded():
            return replace(state, stages=tuple(_advance(stage, event) for stage in state.stages))
        case Measured():
            others = (found for found in state.measured if (found.stage, found.name) != (event.stage, event.name))
            return replace(state, measured=(*others, event.without_windows()))
        case Savings():
            return replace(state, savings=event)
        case Strided():
            return replace(state, strided=event)
        case Priced():
            return replace(state, priced=event)
        case TokensMeasured():
            return state
        case Warned(message=message):
            return replace(state, warnings=(*state.warnings, message))
        case RunFinished(seconds=seconds, peak_memory=peak_memory):
            return replace(state, status="finished", seconds=seconds, peak_memory=peak_memory)
        case RunFailed(message=message, traceback=traceback, seconds=seconds):
            return replace(state, status="failed", error=message, traceback=traceback or None, seconds=seconds)
        case RunInterrupted(reason=reason, seconds=seconds):
            return replace(state, status="interrupted", error=reason, seconds=seconds)


def _begun(event: StageStarted) -> StageState:
    return StageState(
        name=event.stage,
        kind=event.kind,
        block=event.block,
        epochs=event.epochs,
        steps=event.steps,
        tokens=event.tokens,
        reused=event.reused,
        flops=event.flops,
        bytes_per_token=event.bytes_per_token,
        val_bytes_per_token=event.val_bytes_per_token,
    )


def reduce_all(state: RunState, events: Iterable[Event]) -> RunState:
    """Return the state after all the events."""
    return fold(reduce, joined(events), state)


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events, consecutive steps of an epoch as one that changes a state as all of them do."""
    for key, group in groupby(events, key=epoch_of_step):
        if key is None:
            yield from group
        else:
            steps = [step for step in group if isinstance(step, Step)]
            tokens, seconds = sum(step.tokens for step in steps), sum(step.seconds for step in steps)
            yield replace(steps[-1], tokens=tokens, seconds=seconds)


def _advance(stage: StageState, event: Step | Epoch | Threshold | Profiled | StageEnded) -> StageState:
    if stage.name != event.stage:
        return stage
    match event:
        case Step():
            return replace(
                stage,
                epoch=event.epoch,
                step=event.step,
                step_loss=event.loss,
                step_tokens=stage.step_tokens + event.tokens,
                step_seconds=stage.step_seconds + event.seconds,
            )
        case Epoch():
            return replace(stage, epoch=event.epoch, history=(*stage.history, event))
        case Threshold():
            return replace(stage, threshold=event)
        case Profiled():
            return replace(stage, profile=event)
        case StageEnded(seconds=seconds):
            return replace(stage, seconds=seconds)
