"""Plan of a sweep before it starts: the stages to train and to reuse, and what all of it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.config.run_config import RunConfig
from core.estimate.estimate import pass_seconds
from core.estimate.speed import Speed, measure
from core.estimate.workload import Sizes, Span, memory, stage_passes
from core.machine.processes import memory_now
from core.protocol.order import block0_origin, planned_stages
from core.protocol.stage_key import PRICE_FIELDS
from core.sweeps.create import PlannedRun, PlannedSweep

MOST_SHAPES = 6
"""Most different models of which the speed is measured, half a second each."""
FROM_TOKENS = frozenset(f"exit.{name}" for name in (*PRICE_FIELDS, "hard_ratio"))
"""Fields whose values are read off one run's tokens where all its blocks are trained before its exits are set."""


@dataclass(frozen=True)
class Outline:
    """What a sweep comes to.

    Attributes:
        to_train, reused: stages that are trained, and that runs take from others, by kind.
        seconds: of all runs, side by side; None where the speed was not measured.
        memory: bytes of the runs that train at once.
        from_tokens: fields that are varied, but could be read off one run's tokens.
    """

    runs: int
    settings: int
    seeds: int
    to_train: dict[str, int]
    reused: dict[str, int]
    seconds: Span | None
    memory: int
    jobs: int
    from_tokens: tuple[str, ...]


def outline(planned: PlannedSweep, jobs: int) -> Outline:
    """Return what a sweep comes to; a speed is measured for half a second for each model."""
    to_train, reused, passes, seen = dict[str, int](), dict[str, int](), Span(0, 0), set[str]()
    speeds = _Speeds()
    needed = list[int]()
    for run in planned.runs:
        speed = speeds.of(run.config, run.sizes)
        for stage in planned_stages(run.config):
            key = run.keys.get(stage.name, f"{stage.name} {block0_origin(run.config, run.fingerprint)}")
            shared = stage.trains or (stage.kind == "statistics" and stage.block in (0, None) and not stage.ahead)
            if stage.trains:
                count = reused if key in seen else to_train
                count[stage.kind] = count.get(stage.kind, 0) + 1
            if speed is not None and not (shared and key in seen):
                for one in stage_passes(stage, run.config, run.sizes):
                    passes += pass_seconds(one, speed)
            if shared:
                seen.add(key)
        needed.append(memory(run.config, run.sizes))
    side_by_side = max(1, min(jobs, len(planned.runs)))
    return Outline(
        runs=len(planned.runs),
        settings=len({run.setting.point for run in planned.runs}),
        seeds=len({run.config.seed for run in planned.runs}),
        to_train=to_train,
        reused=reused,
        seconds=passes * (1 / side_by_side) if speeds.complete else None,
        memory=sum(sorted(needed)[-side_by_side:]) + side_by_side * memory_now(),
        jobs=side_by_side,
        from_tokens=tuple(_from_tokens(planned.runs)),
    )


def _from_tokens(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """Yield the varied fields that change nothing that is trained."""
    for name in runs[0].setting.values if runs else ():
        if name not in FROM_TOKENS:
            continue
        trained = {
            (tuple(sorted(run.keys.items())), *(str(value) for key, value in run.setting.values.items() if key != name))
            for run in runs
        }
        values = {str(run.setting.values[name]) for run in runs}
        if len(trained) * len(values) <= len(runs):
            yield name


class _Speeds:
    """Speeds of the models of a sweep, each measured once; `complete` unless there are too many of them."""

    def __init__(self) -> None:
        self.complete = True
        self._found: dict[object, Speed | None] = {}

    def of(self, config: RunConfig, sizes: Sizes) -> Speed | None:
        key = (config.model, config.data.seq_len, config.train.batch_size, config.machine, sizes.vocab_size)
        if key not in self._found:
            possible = len(self._found) < MOST_SHAPES and not config.model.pretrained
            self._found[key] = measure(config, sizes.vocab_size) if possible else None
        self.complete = self.complete and self._found[key] is not None
        return self._found[key]
