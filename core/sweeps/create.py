"""From what a sweep varies to its runs in the store, with the stages that they share."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from core.config.derived import dataset_settings
from core.config.run_config import RunConfig
from core.estimate.workload import Sizes
from core.events import PlannedStage
from core.protocol.order import planned_stages
from core.protocol.resolve import choose_threads
from core.protocol.stage_key import depends_on_thresholds, stage_keys
from core.session.names import require_name
from core.session.plan import Plan
from core.session.prepare import check, keep_text
from core.store.sweeps import Cell, add_cells, create_sweep
from core.store.writer import Writer
from core.sweeps.spec import Setting, Spec

THREADS = "machine.threads"


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep that is checked, but not stored.

    Attributes:
        config: resolved.
        keys: key of each stage that it trains, by name.
        fingerprint, sizes: of its dataset.
    """

    setting: Setting
    config: RunConfig
    keys: dict[str, str]
    fingerprint: str
    sizes: Sizes
    cell: Cell


@dataclass(frozen=True)
class PlannedSweep:
    """All runs of a sweep, checked; `keep_texts` stores the texts that they are evaluated on."""

    runs: list[PlannedRun]
    keep_texts: Callable[[Writer], None]


def with_threads(spec: Spec, jobs: int, each: int | None = None) -> tuple[Spec, str]:
    """Return a sweep whose runs have the threads that they will always have, and a remark on them, if any.

    They are those of the machine, shared out among the jobs, unless the sweep says.

    Args:
        each: threads of each run where they are not this machine's.
    """
    if THREADS in spec.axes or THREADS in (spec.search or {}).get("space", {}) or spec.base.get(THREADS):
        return spec, ""
    if each is not None:
        return replace(spec, base={**spec.base, THREADS: each}), ""
    choice = choose_threads()
    return replace(spec, base={**spec.base, THREADS: max(1, choice.threads // jobs)}), choice.remark


def plan_sweep(spec: Spec, runs: Sequence[tuple[Setting, RunConfig]], name: str) -> PlannedSweep:
    """Check the runs of a sweep, and find the stages that they share; nothing is stored.

    Raises:
        UsageError: a corpus, a device, the name or a method can't be used.
    """
    require_name("--name", name)
    planned, datasets = list[PlannedRun](), []
    for group in _by_text(runs):
        names = tuple(run_name(name, setting, config) for setting, config in group)
        checked = check(Plan(tuple(config for _, config in group), names, spec.preset, spec.tags))
        dataset, sizes = checked.dataset, Sizes.of(checked.dataset)
        datasets.append(dataset)
        for (setting, _), config, new in zip(group, checked.configs, checked.new, strict=True):
            keys = stage_keys(config, dataset.fingerprint)
            cell = Cell(new, setting.point, setting.values, {}, next(iter(keys.values()), ""))
            planned.append(PlannedRun(setting, config, keys, dataset.fingerprint, sizes, cell))

    def keep_texts(store: Writer) -> None:
        for dataset in datasets:
            keep_text(dataset, store)

    return PlannedSweep(_sharing(_in_order(planned), search=spec.search is not None), keep_texts)


def store_sweep(store: Writer, name: str, spec: Spec, planned: PlannedSweep) -> int:
    """Store a sweep and its runs, which wait in its queue; return its number.

    Raises:
        StoreError: its name or that of a run is taken; nothing is stored.
    """
    sweep = create_sweep(store, name, spec.as_plain(), [run.cell for run in planned.runs])
    planned.keep_texts(store)
    return sweep


def store_more(store: Writer, sweep: int, planned: PlannedSweep, spec: Spec | None = None) -> list[int]:
    """Store more runs of a sweep, and what it varies now; return their numbers."""
    numbers = add_cells(store, sweep, [run.cell for run in planned.runs], None if spec is None else spec.as_plain())
    planned.keep_texts(store)
    return numbers


def run_name(sweep: str, setting: Setting, config: RunConfig) -> str:
    """Return the name of a run of a sweep."""
    return f"{sweep}-{setting.point}-s{config.seed}"


def _by_text(runs: Sequence[tuple[Setting, RunConfig]]) -> Iterator[list[tuple[Setting, RunConfig]]]:
    """Yield the runs in groups that read the same text in the same way."""
    groups: dict[object, list[tuple[Setting, RunConfig]]] = {}
    for setting, config in runs:
        groups.setdefault(dataset_settings(config), []).append((setting, config))
    yield from groups.values()


def _in_order(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs so that those with the same first stage follow each other."""
    first: dict[str, int] = {}
    for run in runs:
        first.setdefault(run.cell.origin, len(first))
    return sorted(runs, key=lambda run: (run.config.seed, first[run.cell.origin]))


def _sharing(runs: Sequence[PlannedRun], *, search: bool) -> list[PlannedRun]:
    """Find the stages that several runs train, or in a search those that further ones may."""
    count = Counter(key for run in runs for key in run.keys.values())

    def is_shared(run: PlannedRun, stage: PlannedStage) -> bool:
        if search:
            return not depends_on_thresholds(run.config, stage)
        return count[run.keys[stage.name]] > 1

    return [
        replace(
            run,
            cell=replace(
                run.cell,
                stages={
                    stage.name: run.keys[stage.name]
                    for stage in planned_stages(run.config)
                    if stage.trains and is_shared(run, stage)
                },
            ),
        )
        for run in runs
    ]
