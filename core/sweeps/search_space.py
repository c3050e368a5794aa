"""What a search tries: its sampler, its total of trials, and the space that Optuna chooses values from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.config.messages import shortened
from core.errors import ConfigError, UsageError
from core.sweeps.objective import read_constraint, read_objectives
from core.sweeps.spec import Spec
from core.sweeps.values import Axis, Range, as_number

if TYPE_CHECKING:
    from optuna.trial import Trial

SAMPLERS = ("tpe", "random")
MOST_TRIALS = 10_000


def search_from(
    sampler: str, trials: int | None, objective: str, constraints: Sequence[str], axes: Sequence[Axis], *, prune: bool
) -> dict[str, Any]:
    """Return a search as plain values, for a sweep's `Spec`.

    Raises:
        ConfigError: the sampler or a metric is unknown, a number or a field to search is missing.
    """
    require_optuna()
    if sampler not in SAMPLERS:
        raise ConfigError(f"--search must be one of {', '.join(SAMPLERS)}, got {shortened(sampler)!r}")
    if trials is None:
        raise ConfigError(f"--search needs --trials, 1 to {MOST_TRIALS:,}: how many combinations to try in all")
    _require_few(trials)
    if not axes:
        raise ConfigError("--search needs something to vary: --set hard_ratio=0.2..0.8, or several values")
    objectives = read_objectives(objective)
    if prune and len(objectives) > 1:
        raise ConfigError("--prune compares trials by one figure: it needs a single --objective")
    for text in constraints:
        read_constraint(text)
    return {
        "sampler": sampler, "trials": trials, "objective": objective, "constraints": list(constraints),
        "prune": prune, "space": {axis.name: _as_plain(axis) for axis in axes},
    }  # fmt: skip


def require_optuna() -> None:
    """Refuse to search where Optuna is not installed.

    Raises:
        UsageError: it is not.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("--search needs Optuna: pip install 'eetui[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def check_space(spec: Spec) -> None:
    """Build configs from the ends of what is searched.

    Raises:
        ConfigError: a value is refused.
    """
    assert spec.search is not None
    for end in (0, -1):
        ends = {name: _end(space, end) for name, space in spec.search["space"].items()}
        spec.config(ends, spec.first_seed)


def with_trials(spec: Spec, trials: int) -> Spec:
    """Return a search with another total of trials.

    Raises:
        UsageError: the sweep is no search.
        ConfigError: these are too many.
    """
    if spec.search is None:
        raise UsageError("--trials is for a search, and this sweep is a grid: eetui sweep add-seeds adds to it")
    _require_few(trials)
    return replace(spec, search={**spec.search, "trials": trials})


def _require_few(trials: int) -> None:
    if not 0 < trials <= MOST_TRIALS:
        raise ConfigError(f"--trials must be 1 to {MOST_TRIALS:,}, got {trials:,}")


def _as_plain(axis: Axis) -> dict[str, Any]:
    values = axis.values
    if not isinstance(values, Range):
        return {"values": list(values)}
    step = None if values.step is None else as_number(values.step)
    low, high = as_number(values.low), as_number(values.high)
    return {"low": low, "high": high, "step": step, "log": values.log}


def _end(space: Mapping[str, Any], end: int) -> Any:
    return space["values"][end] if "values" in space else space["high" if end else "low"]


def suggest(trial: "Trial", name: str, space: Mapping[str, Any]) -> Any:
    """Return a trial's value of a field, out of what is searched."""
    if "values" in space:
        return json.loads(str(trial.suggest_categorical(name, [json.dumps(value) for value in space["values"]])))
    low, high, step, log = space["low"], space["high"], space["step"], space["log"]
    if all(isinstance(one, int) for one in (low, high, step or 1)) and _is_whole(name):
        return trial.suggest_int(name, low, high, step=step or 1, log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)


def _is_whole(name: str) -> bool:
    """Whether a config field takes integers only."""
    from core.config.run_config import fields

    return isinstance(fields()[name][1], int)
