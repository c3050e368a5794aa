"""Plan of an experiment. Importing this module does not import torch, so that forms and commands can plan at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.config.run_config import Layer, RunConfig, build
from core.session.names import require_list, require_name, require_tag

REPORT_METHODS = ("distill", "loss", "softmax")
"""Methods of the seed report, trained where none is chosen."""


@dataclass(frozen=True)
class Plan:
    """An experiment to run: one config for each run, all on one corpus, with names (None: from the run's number)."""

    configs: tuple[RunConfig, ...]
    names: tuple[str | None, ...]
    preset: str | None = None
    tags: tuple[str, ...] = ()
    profile: bool = False
    """Whether the parts of every stage are timed."""
    speed: float | None = None
    """Estimated tokens a second of the first training."""


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
    """Plan all methods with the first seed, then with the next, so that sibling runs can share stages.

    Args:
        layers: layers of the configs, without the method; their seed is the first one.
        methods: exit methods; empty: the method that a layer names, else the report's three.
        seeds: number of consecutive seeds.
        sign: prefix of `method`, `name` and `tag` in messages, such as `--`.

    Raises:
        ConfigError: a value, the name or a tag is not valid.
    """
    for what, texts in (("methods", methods), ("tags", tags)):
        require_list(what, texts)
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
    """Name the runs of an experiment: the name, with method and seed added where these differ between runs.

    Raises:
        ConfigError: the name is not valid; `what` names it in the message.
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
