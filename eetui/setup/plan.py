"""From what the user chose, on the command line or in the form, to an experiment."""

from collections.abc import Sequence

from core.config.run_config import Layer, RunConfig, build
from core.session.plan import Plan
from eetui.setup.names import require_name, require_tag

REPORT_METHODS = ("distill", "loss", "softmax")
"""The methods of the seed report, trained where none is chosen."""


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
        seeds: how many consecutive seeds.
        sign: what messages put before `method`, `name` and `tag`, such as `--`.

    Raises:
        ConfigError: a value, the name or a tag is not valid.
    """
    base = build(layers)
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
