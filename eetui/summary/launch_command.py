"""The commands that train a run, or all runs of a sweep, again."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.config.dotted_names import flatten
from core.config.stored import is_imported, known

if TYPE_CHECKING:
    from core.sweeps.spec import Spec


def recorded_command(row: Mapping[str, Any]) -> str | None:
    """Return the command line a run was started with; None if it does not name what is trained, as the console's."""
    command = str(row["record"].get("command") or "")
    words = command.split()
    return command if "run" in words[1:] and "--no-ui" in words else None


def changed_values(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a stored run's preset, and the values of its config that differ from it, method and seed aside.

    Those that a pretrained model filled in are left out. An imported run has no preset: all that is known of its config
    differs.

    Raises:
        ConfigError: its method is a plug-in that is gone or has changed.
    """
    if is_imported(row):
        return "none", {key: value for key, value in known(row).items() if key not in ("method", "seed")}
    from core.config.run_config import DEFAULT_PRESET, Layer, build, preset_layer, preset_names, rebuilt
    from core.config.sections import OWN_FIELDS

    preset = row["preset"] if row["preset"] in preset_names() else DEFAULT_PRESET
    own = {"method": row["config"]["method"], "seed": row["seed"]}
    base = flatten(build([preset_layer(preset), Layer("the run", own)]).model_dump())
    config = rebuilt(row["config"], "the run")
    filled_in = OWN_FIELDS if config.model.pretrained else ()
    given = {key: value for key, value in flatten(config.model_dump()).items() if key not in filled_in}
    return preset, {key: value for key, value in given.items() if value is not None and base.get(key) != value}


def launch_command(row: Mapping[str, Any]) -> str:
    """Return the `eetui run …` that gives a stored run's config, written as differences from its preset.

    Of an imported run it is the `eetui import …` that made it.
    """
    if is_imported(row):
        return str(row["record"].get("command") or "eetui import FILE")
    preset, changed = changed_values(row)
    method = row["config"]["method"]  # a user's own by its file and the hash of its content
    words = ["eetui", "run", "--preset", preset, "--method", method, "--seed", str(row["seed"])]
    for key, value in changed.items():
        words += ["--set", f"{key}={_written(value)}"]
    return shlex.join([*words, *_tags(row["tags"])])


def sweep_command(name: str, spec: "Spec") -> str:
    """Return the `eetui sweep …` that makes all runs of a sweep, written as differences from its preset."""
    from core.config.run_config import DEFAULT_PRESET, fields, preset_layer, preset_names
    from core.sweeps.spec import full_name

    preset = spec.preset if spec.preset in preset_names() else DEFAULT_PRESET
    words = ["eetui", "sweep", "--name", name, "--preset", preset]
    base = {key: default for key, (_, default) in fields().items()}
    of_preset = base | {full_name(key, preset): value for key, value in preset_layer(preset).values.items()}
    for key, value in (base | dict(spec.base)).items():
        if key not in ("method", "seed", *spec.axes) and value is not None and value != of_preset[key]:
            words += ["--set", f"{key}={_one_value(value)}"]
    space = {} if spec.search is None else spec.search["space"]
    for method in _methods(spec, space):
        words += ["--method", method]
    for key, values in spec.axes.items():
        if key != "method":
            words += ["--set", f"{key}={','.join(map(_one_value, values))}"]
    for key, one in space.items():
        if key != "method":
            words += ["--set", f"{key}={_searched(one)}"]
    words += ["--seed", str(spec.first_seed), "--seeds", str(spec.seeds), *_tags(spec.tags)]
    return shlex.join([*words, *_search_options(spec.search)])


def _methods(spec: "Spec", space: Mapping[str, Any]) -> Sequence[str]:
    """Return the methods that a sweep varies, or its one."""
    varied = spec.axes.get("method") or space.get("method", {}).get("values", ())
    return varied or ([spec.base["method"]] if "method" in spec.base else [])


def _search_options(search: Mapping[str, Any] | None) -> Iterator[str]:
    if search is None:
        return
    yield from ("--search", search["sampler"], "--trials", str(search["trials"]), "--objective", search["objective"])
    for constraint in search["constraints"]:
        yield from ("--constraint", constraint)
    if search["prune"]:
        yield "--prune"


def _searched(space: Mapping[str, Any]) -> str:
    """Write values or a range to search, as `--set` of a sweep reads them."""
    if "values" in space:
        return ",".join(map(_one_value, space["values"]))
    step = "log" if space["log"] else space["step"]
    return f"{space['low']}..{space['high']}" + ("" if step is None else f":{step}")


def _one_value(value: object) -> str:
    """Write a value that `--set` of a sweep reads as one, not as several to vary."""
    from core.sweeps.values import Range, read_axis, split

    if isinstance(value, list | tuple):
        return f"[{','.join(map(_one_value, value))}]"
    text = _written(value)
    if isinstance(value, str) and (len(split(text)) > 1 or isinstance(read_axis("x", text).values, Range)):
        return json.dumps(value, ensure_ascii=False)
    return text


def _tags(tags: Iterable[str]) -> Iterator[str]:
    for tag in tags:
        yield from ("--tag", tag)


def _written(value: object) -> str:
    """Write a value as `--set` reads it: TOML, or plain text where it can't be read as anything else."""
    from core.config.run_config import set_layer

    if isinstance(value, str):
        plain = set_layer(f"x={value}").values["x"] == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else repr(value)
