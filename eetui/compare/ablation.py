"""The ablation: a preset's protocol with each switch of the sound preset on alone, then all added up in turn.

Every value that the sound preset sets and the base does not is a switch, so new ones are ablated without further
code. Planning and table are pure. Runs are known by name; stored ones are not trained again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.config.dotted_names import flatten
from core.config.run_config import Layer, RunConfig, build, preset_layer
from core.errors import ConfigError, UsageError
from core.intervals import Interval
from core.metrics import BITS_PER_BYTE, FINAL_PPL, LAYER_SAVINGS, SHALLOW_RATIO, Value, way_ppl
from core.protocol.order import block0_origin
from core.session.names import require_name
from core.session.plan import Plan
from core.store.reader import Query, Reader
from eetui.compare.columns import Column, loss_difference
from eetui.compare.run_view import RunView, stored_view

GOAL = "sound"
ORDER = (
    "train.train_embedding", "train.head", "exit.exited_state", "exit.hard_tokens", "exit.calibration", "train.split",
    "model.norm", "model.dropout", "model.tie_embedding", "train.later_init", "exit.classifier_fit",
)  # fmt: skip
"""Order in which switches are added up; others follow in the preset's order."""
INERT = {"exit.last_exit": "nothing uses the last block's exit, so it changes no figure"}
FIGURES = (
    way_ppl("as trained", 0), way_ppl("alone", 0), way_ppl("all blocks"), FINAL_PPL, BITS_PER_BYTE,
    SHALLOW_RATIO, LAYER_SAVINGS,
)  # fmt: skip
"""Metrics of the table."""

AblationSeries = Literal["base", "alone", "together"]


@dataclass(frozen=True)
class Switch:
    """A config value of the goal preset that differs from the base's."""

    key: str
    value: Any

    @property
    def leaf(self) -> str:
        return self.key.rpartition(".")[2]

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.leaf}={value}"


@dataclass(frozen=True)
class AblationRow:
    """Runs of one config, one per seed.

    Attributes:
        against: index of the line to compare with; None for the base.
    """

    label: str
    series: AblationSeries
    names: tuple[str, ...]
    configs: tuple[RunConfig, ...]
    against: int | None = None


@dataclass(frozen=True)
class Ablation:
    """All lines in table order, and notes on switches left out or combined, with the reason."""

    rows: tuple[AblationRow, ...]
    preset: str
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The method, and the seeds that figures are a mean over."""
        configs = self.rows[0].configs
        seeds = ", ".join(str(config.seed) for config in configs)
        return f"{configs[0].method_name}, " + (
            f"{len(configs)} seeds: {seeds}" if len(configs) > 1 else f"one seed: {seeds}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all runs."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.names))


@dataclass(frozen=True)
class AblationLine:
    """A line of the table with its figures.

    Attributes:
        values: values of `FIGURES`; None if a run lacks one.
        difference: early exit's loss minus that of the line in `against`, in nats.
        status: statuses of its runs; empty if all have finished.
    """

    label: str
    series: AblationSeries
    names: tuple[str, ...]
    values: tuple[Value | None, ...]
    against: str = ""
    difference: Interval | None = None
    status: str = ""


def plan_ablation(
    layers: Sequence[Layer], *, preset: str, method: str = "loss", seeds: int = 1, name: str = "ablate"
) -> Ablation:
    """Plan the base, each switch alone, then the switches added up.

    Args:
        layers: config layers of the base, the preset's among them.
        seeds: number of consecutive seeds, starting at the base's.
        name: prefix of the runs' names.

    Raises:
        ConfigError: a value or the name is not valid.
        UsageError: the base has nothing that the goal changes.
    """
    require_name("--name", name)
    first = build(layers).seed
    planner = _Planner(layers, method, range(first, first + seeds), name)
    switches, notes = _switches(planner.base)
    if not switches:
        raise UsageError(f"there is nothing to ablate: this config is that of the {GOAL} preset already")
    rows = [planner.row("base", "base", f"{preset} protocol", [])]
    notes += planner.add_alone(rows, switches)
    notes += planner.add_together(rows, switches)
    return Ablation(tuple(rows), preset, tuple(notes))


def _switches(base: RunConfig) -> tuple[list[Switch], list[str]]:
    """Return the switches in order, and notes on those left out, with the reason."""
    goal, values = preset_layer(GOAL).values, flatten(base.model_dump())
    left_out = INERT | {
        key: "the runs of an experiment share their data and batch size"
        for key in goal
        if key.startswith("data.") or key == "train.batch_size"
    }
    keys = [key for key in goal if goal[key] != values[key]]
    keys.sort(key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
    return (
        [Switch(key, goal[key]) for key in keys if key not in left_out],
        [f"{Switch(key, goal[key])} is left out: {left_out[key]}" for key in keys if key in left_out],
    )


class _Planner:
    """Builder of lines from switches; equal configs share one run."""

    def __init__(self, layers: Sequence[Layer], method: str, seeds: Sequence[int], name: str) -> None:
        self.layers, self.method, self.seeds, self.name = layers, method, seeds, name
        self.names: dict[RunConfig, str] = {}
        self.base = self.config([], seeds[0])

    def config(self, switches: Sequence[Switch], seed: int) -> RunConfig:
        turned = Layer("ablation", {switch.key: switch.value for switch in switches})
        return build([*self.layers, turned, Layer("ablation", {"method": self.method, "seed": seed})])

    def row(
        self, series: AblationSeries, part: str, label: str, switches: Sequence[Switch], against: int | None = None
    ) -> AblationRow:
        """Return the line of these switches.

        Raises:
            ConfigError: the switches can't be combined.
        """
        configs = tuple(self.config(switches, seed) for seed in self.seeds)
        sign = "+" if series == "together" else "-"
        for config in configs:
            name = f"{self.name}{sign}{part}" + (f"-s{config.seed}" if len(configs) > 1 else "")
            self.names.setdefault(config, name)
        return AblationRow(label, series, tuple(self.names[config] for config in configs), configs, against)

    def add_alone(self, rows: list[AblationRow], switches: Sequence[Switch]) -> Iterator[str]:
        """Add one line per switch, with a helper where it is invalid alone; yield a note on each exception."""
        line_of: dict[Switch, int] = {}
        for switch in switches:
            try:
                rows.append(self.row("alone", switch.leaf, f"{switch}", [switch], 0))
            except ConfigError as error:
                helper = next((other for other in switches if self._stand(other, switch)), None)
                if helper is None:
                    yield f"{switch} is not tried alone: {error}"
                    continue
                yield f"{switch} can't stand without {helper}: it is tried with it, against {helper} alone"
                rows.append(
                    self.row("alone", switch.leaf, f"{switch} ({helper.leaf})", [helper, switch], line_of[helper])
                )
            line_of[switch] = len(rows) - 1

    def _stand(self, *switches: Switch) -> bool:
        try:
            self.config(switches[:1], self.seeds[0])
            self.config(switches, self.seeds[0])
        except ConfigError:
            return False
        return True

    def add_together(self, rows: list[AblationRow], switches: Sequence[Switch]) -> Iterator[str]:
        """Add one line per switch added to the ones before, up to the goal; yield a note on each exception."""
        turned, before = list[Switch](), 0
        for switch in switches:
            try:
                rows.append(self.row("together", switch.leaf, f"+ {switch}", [*turned, switch], before))
            except ConfigError as error:
                yield f"{switch} is not added: {error}"
                continue
            turned.append(switch)
            before = len(rows) - 1


def plan_of(ablation: Ablation, names: Sequence[str]) -> Plan:
    """Return the experiment of those runs; runs that can share block 0 follow one another."""
    runs = {name: config for row in ablation.rows for name, config in zip(row.names, row.configs, strict=True)}
    chosen = {name: config for name, config in runs.items() if name in names}
    origins = [block0_origin(config, "") for config in chosen.values()]
    ordered = sorted(chosen, key=lambda name: origins.index(block0_origin(chosen[name], "")))
    return Plan(tuple(chosen[name] for name in ordered), tuple(ordered), ablation.preset, ("ablation",))


def stored_runs(ablation: Ablation, reader: Reader) -> tuple[dict[str, RunView], list[str]]:
    """Return the stored runs by name, and the names of those not stored.

    Raises:
        UsageError: a run of that name has another config.
    """
    views, missing = dict[str, RunView](), list[str]()
    for row in ablation.rows:
        for name, config in zip(row.names, row.configs, strict=True):
            found = reader.runs(Query("name = ?", (name,)))
            if not found:
                missing.append(name)
                continue
            _require_same(name, config, reader.run(found[0]["id"])["config"])
            views[name] = stored_view(reader, found[0]["id"])
    return views, list(dict.fromkeys(missing))


def _require_same(name: str, planned: RunConfig, stored: Mapping[str, Any]) -> None:
    """Raise unless the stored config is the planned one; values resolved on the machine may differ."""
    found = flatten(build([Layer(f"run {name}", flatten(stored))]).model_dump())
    for key, value in flatten(planned.model_dump()).items():
        open_to_all = value == "auto" or (key == "machine.threads" and value == 0)
        if found[key] != value and not open_to_all:
            raise UsageError(
                f"{name} is there already with {key}={found[key]}, not {value}: name this ablation otherwise (--name)"
            )


def ablation_lines(ablation: Ablation, views: Mapping[str, RunView]) -> tuple[AblationLine, ...]:
    """Return the lines with the figures of their runs, which `views` holds by name."""
    return tuple(_line(row, ablation.rows, views) for row in ablation.rows)


def _line(row: AblationRow, rows: Sequence[AblationRow], views: Mapping[str, RunView]) -> AblationLine:
    runs = tuple(views[name] for name in row.names if name in views)
    statuses = [*(run.status for run in runs), *["missing"] * (len(row.names) - len(runs))]
    whole = Column(runs) if len(runs) == len(row.names) else None
    before = None if row.against is None else rows[row.against]
    return AblationLine(
        label=row.label,
        series=row.series,
        names=row.names,
        values=tuple(whole.value(metric) if whole else None for metric in FIGURES),
        against="" if before is None else before.label,
        difference=None if before is None else _difference(row, before, views),
        status="" if set(statuses) == {"finished"} else ", ".join(dict.fromkeys(statuses)),
    )


def _difference(row: AblationRow, before: AblationRow, views: Mapping[str, RunView]) -> Interval | None:
    """Return the difference of early exit's loss on the same windows; None where runs are missing."""
    if any(name not in views for name in (*row.names, *before.names)):
        return None
    return loss_difference(*(Column(tuple(views[name] for name in names)) for names in (row.names, before.names)))
