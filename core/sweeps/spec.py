"""What a sweep varies: its fields and values, its seeds, and the config of each of its runs."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core.config.dotted_names import flatten
from core.config.messages import did_you_mean, shortened
from core.config.run_config import Layer, RunConfig, build, fields
from core.errors import ConfigError, UsageError
from core.sweeps.values import Axis, Range

MOST_RUNS = 10_000
"""Most runs of a sweep: more are a mistake, or a question for a search."""


@dataclass(frozen=True)
class Setting:
    """One combination of values of a sweep, by dotted name; `point` numbers it."""

    point: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """A sweep from which all its configs follow, now and later.

    Attributes:
        base: values that all runs have, by dotted name.
        axes: the values of each field that is varied, in a grid.
        first_seed, seeds: each combination has a run for each of that many consecutive seeds.
        search: the search instead of a grid, as plain values (`core.sweeps.search`).
    """

    base: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    first_seed: int
    seeds: int
    preset: str | None = None
    tags: tuple[str, ...] = ()
    search: Mapping[str, Any] | None = field(default=None)

    def as_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> "Spec":
        """Return the sweep of such values."""
        axes = {name: tuple(one) for name, one in values["axes"].items()}
        return Spec(**{**values, "axes": axes, "tags": tuple(values["tags"])})

    def settings(self) -> Iterator[Setting]:
        """Yield all combinations of the grid, in order."""
        for point, values in enumerate(itertools.product(*self.axes.values())):
            yield Setting(point, dict(zip(self.axes, values, strict=True)))

    def config(self, setting: Mapping[str, Any], seed: int) -> RunConfig:
        """Build the config of a run.

        Raises:
            ConfigError: a value is refused.
        """
        chosen = ", ".join(f"{name}={value}" for name, value in setting.items())
        return build([Layer("the sweep", self.base), Layer(f"--set {shortened(chosen)}", {**setting, "seed": seed})])

    def seed_numbers(self) -> range:
        """Return the seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def with_seeds(self, more: int) -> "Spec":
        """Return the sweep with so many seeds more."""
        return replace(self, seeds=self.seeds + more)


def spec_from(
    layers: Sequence[Layer], axes: Sequence[Axis], methods: Sequence[str], seeds: int, *, preset: str | None = None,
    tags: Sequence[str] = (), search: Mapping[str, Any] | None = None,
) -> Spec:  # fmt: skip
    """Return a sweep over those values; nothing is built that would not fit.

    Args:
        layers: what all runs have in common.
        methods: exit methods; several are varied like a field.

    Raises:
        ConfigError: a field is unknown, given twice, or can't be varied; there are too many runs, or none to compare.
    """
    base = _values(layers)
    if len(methods) == 1:
        base["method"] = methods[0]
    elif methods:
        axes = [Axis("method", ",".join(methods), tuple(methods)), *axes]
    named = dict[str, Axis]()
    for axis in axes:
        name = full_name(axis.name, axis.origin)
        if name in named:
            raise ConfigError(f"{name} is given twice: {named[name].origin}, and {axis.origin}")
        _require_varied(name, axis)
        named[name] = axis
    if search is None:
        require_few([axis.count for axis in named.values()], seeds)
        for name, axis in named.items():
            if isinstance(axis.values, Range) and axis.values.step is None:
                raise ConfigError(
                    f"{axis.origin}: a grid needs the step of a range, such as {name}={axis.text}:0.1; or --search tpe"
                )
    first = build([Layer("the sweep", {"seed": base.get("seed", fields()["seed"][1])})]).seed
    values = {} if search is not None else {name: tuple(axis.values) for name, axis in named.items()}
    return Spec(base, values, first, seeds, preset, tuple(tags), search)


def require_few(sizes: Sequence[int], seeds: int) -> None:
    """Refuse a grid of too many runs, which are counted without being made.

    Raises:
        ConfigError: there are too many.
    """
    runs = math.prod(sizes) * seeds
    if runs > MOST_RUNS:
        counted = " × ".join(f"{size:,}" for size in (*sizes, seeds) if size > 1)
        raise ConfigError(
            f"these are {runs:,} runs ({counted}), and a sweep has at most {MOST_RUNS:,}: take fewer values, or let "
            f"--search tpe --trials N choose"
        )


def grid(spec: Spec) -> list[tuple[Setting, RunConfig]]:
    """Build all runs of a grid: every combination with the first seed, then with the next.

    Raises:
        ConfigError: a value is refused, or two runs are the same.
    """
    found, seen = list[tuple[Setting, RunConfig]](), dict[RunConfig, Setting]()
    for seed in spec.seed_numbers():
        for setting in spec.settings():
            config = spec.config(setting.values, seed)
            if config in seen:
                raise UsageError(
                    f"two runs of the sweep are the same, {_said(seen[config])} and {_said(setting)}: leave one out"
                )
            seen[config] = setting
            found.append((setting, config))
    return found


def full_name(key: str, origin: str) -> str:
    """Return the dotted name of a field.

    Raises:
        ConfigError: it is unknown.
    """
    known = tuple(fields())
    for name in known:
        if key in (name, name.rpartition(".")[2]):
            return name
    raise ConfigError(f"unknown config key {shortened(key)!r} (from {origin}){did_you_mean(key, known)}")


def _values(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the values of all layers by dotted name, later ones over earlier ones."""
    return {
        full_name(name, layer.origin): value for layer in layers for name, value in flatten(dict(layer.values)).items()
    }


def _require_varied(name: str, axis: Axis) -> None:
    if name == "seed":
        raise ConfigError(f"{axis.origin}: seeds are varied by --seeds N, from --seed on")
    if name == "model.block_layers" and not isinstance(axis.values, Range):
        if any(not isinstance(value, list | str) for value in axis.values):
            raise ConfigError(f"{axis.origin}: a value of {name} is written in brackets: [2,2], or [1,1],[2,2] for two")


def _said(setting: Setting) -> str:
    return ", ".join(f"{name}={value}" for name, value in setting.values.items()) or "without any value varied"
