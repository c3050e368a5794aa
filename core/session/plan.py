"""An experiment before it starts. Imports no torch, so that a form or a command line can make one at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.config.run_config import Layer, RunConfig, build
from core.session.names import require_name, require_tag

REPORT_METHODS = ("distill", "loss", "softmax")
"""The methods of the seed report, trained where none is chosen."""


@dataclass(frozen=True)
class Plan:
    """An experiment to run: one config a run, all on one corpus, with their names (None: made from the number)."""

    configs: tuple[RunConfig, ...]
    names: tuple[str | None, ...]
    preset: str | None = None
    tags: tuple[str, ...] = ()
    profile: bool = False
    """Whether the parts of every stage are timed."""
    speed: float | None = None
    """Tokens a second of the first training, as estimated."""


def plan_from(
    layers: Sequence[Layer],
    methods: Sequence[str],
    seeds: int = 1,
    *,
    preset: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    sign: str = "",
    profile: bool = False,
) -> Plan:
    """All methods of the first seed, then those of the next: siblings share what does not depend on the method.

    Args:
        layers: what the configs add up to, method aside; their seed is the first one.
        methods: none: the method that a layer names, else the report's three.
        seeds: how many consecutive seeds.
        sign: what messages put before `method`, `name` and `tag`, such as `--`.

    Raises:
        ConfigError: a value, the name or a tag is not valid.
    """
    base = build(layers)
    named = any("method" in layer.values for layer in layers)
    methods = methods or ([base.method] if named else REPORT_METHODS)
    configs = [
        build([*layers, Layer(f"{sign}method {method}", {"method": method, "seed": base.seed + offset})])
        for offset in range(seeds)
        for method in dict.fromkeys(methods)
    ]
    names = run_names(name, configs, f"{sign}name")
    for tag in tags:
        require_tag(f"{sign}tag", tag)
    return Plan(tuple(configs), tuple(names), preset, tuple(tags), profile)


def run_names(name: str | None, configs: Sequence[RunConfig], what: str = "name") -> list[str | None]:
    """The name itself for a single run; with method and seed added where they tell runs apart.

    Raises:
        ConfigError: it is no name; the message calls it `what`.
    """
    if name is None:
        return [None] * len(configs)
    require_name(what, name)
    several_methods = len({config.method for config in configs}) > 1
    several_seeds = len({config.seed for config in configs}) > 1
    return [
        name + (f"-{config.method_name}" if several_methods else "") + (f"-s{config.seed}" if several_seeds else "")
        for config in configs
    ]
