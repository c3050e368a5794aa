"""How much each field that a sweep varies matters for a metric, by Optuna's evaluators.

Optuna is imported by the function alone, which takes seconds: call it on a thread of its own.
"""

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UsageError
from core.metrics import Metric
from core.sweeps.combinations import Combination, comparable, main_windows, varied
from core.sweeps.heat import MANY_TIMES, is_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 8
"""Number of combinations with a figure below which nothing is said."""
MOST_FOR_FANOVA = 300
"""Number of combinations up to which a forest of trees is fitted; beyond, it takes many seconds."""
SEED = 0


@dataclass(frozen=True)
class Importance:
    """Shares of the fields in a metric, of a PPL in its loss.

    Attributes:
        evaluator: how they were worked out: `fANOVA`, the share of the variance over all combinations (Hutter et al.
            2014), or `PED-ANOVA`, the share in being among the best ones (Watanabe et al. 2023).
        combinations: number of combinations that it is over.
        shares: by dotted name, the largest first; they sum to 1.
    """

    metric: Metric
    evaluator: str
    combinations: int
    shares: Mapping[str, float]


def importance(found: Sequence[Combination], metric: Metric) -> Importance:
    """Return the importance of each field that has several values, for the mean over seeds of a metric.

    Only combinations all of whose runs have finished count, on the windows that most share.

    Raises:
        UsageError: Optuna is not installed, the combinations are too few, or nothing differs; the message says so.
    """
    done = [one for one in found if one.complete and one.cells]
    windows = main_windows(done)
    means = {
        one.point: comparable(mean, metric)
        for one in done
        if one.windows == windows and (mean := one.mean(metric)) is not None
    }
    usable = [one for one in done if one.point in means and set(one.setting) == set(varied(found))]
    space = {name: values for name in varied(found) if len(values := _values(usable, name)) > 1}
    _require_enough(len(usable), space, [means[one.point] for one in usable], metric)
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("importance is worked out by Optuna, which is not installed: pip install 'eetui[sweep]'")
    fanova = len(usable) <= MOST_FOR_FANOVA and importlib.util.find_spec("sklearn") is not None
    shares = _shares(usable, means, space, higher=metric.better == "higher", fanova=fanova)
    return Importance(metric, "fANOVA" if fanova else "PED-ANOVA", len(usable), shares)


def _require_enough(count: int, space: Mapping[str, object], means: Sequence[float], metric: Metric) -> None:
    if count < FEWEST:
        raise UsageError(
            f"importance takes {FEWEST} combinations or more whose runs have all finished with {metric.label}, and "
            f"there {'is' if count == 1 else 'are'} {count or 'none'}"
        )
    if not space:
        raise UsageError("nothing is varied among the combinations that have finished, so nothing has an importance")
    if len(set(means)) == 1:
        raise UsageError(
            f"{metric.label} is the same for all {count} combinations, so nothing has an importance for it"
        )


def _values(found: Sequence[Combination], name: str) -> dict[str, Any]:
    """Return the different values of a field by their JSON text."""
    return {json.dumps(one.setting[name]): one.setting[name] for one in found}


def _shares(
    found: Sequence[Combination], means: Mapping[int, float], space: Mapping[str, Mapping[str, Any]], *, higher: bool,
    fanova: bool,
) -> dict[str, float]:  # fmt: skip
    import optuna
    from optuna.importance import get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if higher else "minimize")
    numeric = {name for name, values in space.items() if all(map(is_number, values.values()))}
    distributions = {name: _distribution(values, numeric=name in numeric) for name, values in space.items()}
    for one in found:
        params = {
            name: float(one.setting[name]) if name in numeric else json.dumps(one.setting[name]) for name in space
        }
        study.add_trial(create_trial(params=params, distributions=distributions, value=means[one.point]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = (
            optuna.importance.FanovaImportanceEvaluator(seed=SEED)
            if fanova
            else optuna.importance.PedAnovaImportanceEvaluator()
        )
        shares = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in sorted(shares.items(), key=lambda each: -each[1])}


def _distribution(values: Mapping[str, Any], *, numeric: bool) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not numeric:
        return CategoricalDistribution(tuple(values))
    low, high = float(min(values.values())), float(max(values.values()))
    return FloatDistribution(low, high, log=low > 0 and high / low >= MANY_TIMES)
