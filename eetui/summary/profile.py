"""The time of a run, by stage and part, as figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from core.events import Profiled
from core.state import RunState, StageState

REST, BETWEEN = "other", "between stages"
ORDER = (
    "set-up", "data", "forward", "head", "backward", "optimizer", "fit", "validation", "evaluation", "signal",
    "threshold", "each block", "early exit", "with a stride", "checkpoint", "events", REST, BETWEEN,
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a stage, or a sum of parts: time and FLOPs."""

    name: str
    seconds: float
    flops: float = 0.0

    @property
    def flops_per_second(self) -> float | None:
        """FLOPs per second; None for a part without FLOPs."""
        return self.flops / self.seconds if self.flops and self.seconds else None


def is_profiled(state: RunState) -> bool:
    """Whether the parts of any stage were timed."""
    return any(stage.profile is not None for stage in state.stages)


def stage_parts(profile: Profiled) -> list[Part]:
    """Return the parts of a stage and the rest of its time, which add up to all of it."""
    timed = zip(profile.parts, profile.part_seconds, profile.part_flops, strict=True)
    parts = [Part(*part) for part in timed]
    rest = profile.seconds - sum(part.seconds for part in parts)
    return _in_order([*parts, Part(REST, max(rest, 0.0))])


def run_parts(state: RunState) -> list[Part]:
    """Return the parts summed over all stages that this run computed, and the time between stages once it ended."""
    own = [stage.profile for stage in state.stages if stage.profile is not None and not stage.reused]
    found: dict[str, Part] = {}
    for part in chain.from_iterable(map(stage_parts, own)):
        found[part.name] = total((found.get(part.name, Part(part.name, 0.0)), part), part.name)
    if state.status == "finished" and state.seconds is not None:
        computed = sum(stage.seconds or 0.0 for stage in state.stages if not stage.reused)
        found[BETWEEN] = Part(BETWEEN, max(state.seconds - computed, 0.0))
    return _in_order(found.values())


def total(parts: Iterable[Part], name: str) -> Part:
    """Return the sum of parts as one part of that name."""
    each = list(parts)
    return Part(name, sum(part.seconds for part in each), sum(part.flops for part in each))


def peak_of(state: RunState) -> float | None:
    """Return the rate of matmuls when the run began, in FLOP/s; None if unknown."""
    return state.started.peak_flops if state.started else None


def profile_object(state: RunState) -> dict[str, Any] | None:
    """Return the profile for JSON, unrounded; None if the run has none."""
    if not is_profiled(state):
        return None
    peak = peak_of(state)
    stages = [_stage_object(stage, peak) for stage in state.stages if stage.seconds is not None]
    return {"peak_flops": peak, "stages": stages, "run": _parts_object(run_parts(state), peak)}


def _stage_object(stage: StageState, peak: float | None) -> dict[str, Any]:
    parts = None if stage.profile is None else _parts_object(stage_parts(stage.profile), peak)
    return {"stage": stage.name, "reused": stage.reused, **(parts or {"seconds": stage.seconds, "parts": None})}


def _parts_object(parts: Sequence[Part], peak: float | None) -> dict[str, Any]:
    whole = _part_object(total(parts, ""), peak)
    del whole["part"]
    return whole | {"parts": [_part_object(part, peak) for part in parts]}


def _part_object(part: Part, peak: float | None) -> dict[str, Any]:
    rate = part.flops_per_second
    return {
        "part": part.name,
        "seconds": part.seconds,
        "flops": part.flops,
        "flops_per_second": rate,
        "share_of_peak": rate / peak if rate and peak else None,
    }


def _in_order(parts: Iterable[Part]) -> list[Part]:
    """Sort parts as in `ORDER`; names it lacks stand beside `early exit`."""
    return sorted(parts, key=lambda part: ORDER.index(part.name if part.name in ORDER else "early exit"))
