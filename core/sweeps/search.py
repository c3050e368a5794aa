"""A search instead of a grid: Optuna chooses the values of each trial, from what the trials before came to.

Optuna keeps its study in a journal beside the database. A trial is a combination of values with a run for each seed;
its number is the run's point. What Optuna knows follows from the runs in the store: a trial that was begun and not told
is told by whoever looks next.
"""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from core.config.messages import shortened
from core.errors import ConfigError, UsageError
from core.events import Epoch, Event, RunInterrupted
from core.session.outbox import Publish
from core.state import Status
from core.store.files import search_journal
from core.store.lock import holding
from core.store.queue import leave
from core.store.reader import Reader
from core.store.stored_sweeps import PRUNED, cells_of, find_sweep
from core.store.writer import Writer
from core.sweeps.create import plan_sweep, store_more
from core.sweeps.objective import mean_of, read_constraint, read_objectives
from core.sweeps.spec import Setting, Spec
from core.sweeps.values import Axis, Range, as_number

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("tpe", "random")
GIVEN_UP = f"{PRUNED} its first epochs were worse than the median of the trials before"
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


@dataclass
class Search:
    """The search of a sweep, for a worker: it makes new trials and tells Optuna what became of them."""

    store: Writer
    sweep: int
    pruned: set[int] = field(default_factory=set)
    _steps: dict[int, int] = field(default_factory=dict)

    def more(self) -> bool:
        """Begin another trial, unless there are all; whether one was begun.

        Raises:
            UsageError: the study is gone, as where the database was moved without it.
        """
        with self._alone():
            spec, name = self._spec()
            study = self._study(spec)
            self._tell_all(study, spec)
            cells, trials = self._cells(), study.get_trials(deepcopy=False)
            if cells and max(cells) >= len(trials):
                raise UsageError(
                    f"the study of {name} is not in {search_journal(self.store.path, self.sweep)}: bring the file back "
                    f"from where the database was, or begin another search"
                )
            left_behind = [trial for trial in trials if not trial.state.is_finished() and trial.number not in cells]
            if left_behind:  # whoever asked for it died before its runs were stored
                number = left_behind[0].number
                study.sampler = self._sampler(spec, number)
                return self._begin(study, spec, name, number, self._trial(study, left_behind[0]))
            assert spec.search is not None
            if len(trials) >= spec.search["trials"]:
                return False
            study.sampler = self._sampler(spec, len(trials))
            trial = study.ask()
            return self._begin(study, spec, name, trial.number, trial)

    def after(self, run: int, status: Status) -> None:
        """Take note that a run has come to its end."""
        if status == "interrupted" and run in self.pruned:
            with self.store.transaction() as connection:
                connection.execute("UPDATE runs SET error = ? WHERE id = ?", [GIVEN_UP, run])
            leave(self.store, run)
            self._drop_siblings(run)
        with self._alone():
            spec, _ = self._spec()
            self._tell_all(self._study(spec), spec)

    def watching(self, publish: Publish) -> Publish:
        """Return a listener that reports epochs to Optuna, and notes runs that are to be pruned, before `publish`."""

        spec, _ = self._spec()
        if spec.search is None or not spec.search["prune"]:
            return publish

        def watch(run: int, events: Sequence[Event]) -> None:
            for event in events:
                if isinstance(event, Epoch) and event.val_loss is not None:
                    self._report(spec, run, event.val_loss)
            publish(run, events)

        return watch

    def _report(self, spec: Spec, run: int, loss: float) -> None:
        """Report an epoch of a trial's first seed."""
        cell = next((cell for cells in self._cells().values() for cell in cells if cell["id"] == run), None)
        if cell is None or cell["seed"] != spec.first_seed:
            return
        step = self._steps[run] = self._steps.get(run, -1) + 1
        with self._alone():
            study = self._study(spec)
            trial = self._trial(study, study.get_trials(deepcopy=False)[cell["point"]])
            if trial.storage.get_trial(trial._trial_id).state.is_finished():
                return
            trial.report(loss, step)
            if trial.should_prune():
                self.pruned.add(run)

    def _begin(self, study: "Study", spec: Spec, name: str, number: int, trial: "Trial") -> bool:
        """Store the runs of a trial; one whose values are refused has failed."""
        from optuna.trial import TrialState

        assert spec.search is not None
        setting = Setting(number, {key: _suggest(trial, key, space) for key, space in spec.search["space"].items()})
        try:
            runs = [(setting, spec.config(setting.values, seed)) for seed in spec.seed_numbers()]
            planned = plan_sweep(spec, runs, name)
        except ConfigError:
            study.tell(number, state=TrialState.FAIL)
            return True
        store_more(self.store, self.sweep, planned)
        return True

    def _tell_all(self, study: "Study", spec: Spec) -> None:
        """Tell Optuna the trials whose runs have all come to their end."""
        cells = self._cells()
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished() and trial.number in cells:
                self._tell(study, spec, trial, cells[trial.number])

    def _tell(self, study: "Study", spec: Spec, trial: "FrozenTrial", cells: Sequence[Mapping[str, Any]]) -> None:
        from optuna.trial import TrialState

        assert spec.search is not None
        statuses = {cell["status"] for cell in cells}
        if any(cell["error"] == GIVEN_UP for cell in cells):
            study.tell(trial.number, state=TrialState.PRUNED)
        elif "failed" in statuses and not statuses & {"queued", "running"}:
            study.tell(trial.number, state=TrialState.FAIL)
        elif statuses == {"finished"}:
            values = [mean_of(cells, one.column) for one in read_objectives(spec.search["objective"])]
            bounds = [read_constraint(text) for text in spec.search["constraints"]]
            limits = [(bound, mean_of(cells, bound.column)) for bound in bounds]
            if None in values or any(value is None for _, value in limits):
                study.tell(trial.number, state=TrialState.FAIL)
                return
            live = self._trial(study, trial)
            for bound, value in limits:
                if value is not None:
                    live.set_constraint(bound.text, bound.violation(value))
            study.tell(trial.number, [value for value in values if value is not None])

    def _trial(self, study: "Study", trial: "FrozenTrial") -> "Trial":
        from optuna.trial import Trial

        return Trial(study, trial._trial_id)

    def _drop_siblings(self, run: int) -> None:
        """Take the other seeds of a pruned trial out of the queue."""
        point = next(point for point, cells in self._cells().items() if any(cell["id"] == run for cell in cells))
        for cell in self._cells()[point]:
            if cell["status"] == "queued":
                leave(self.store, cell["id"])
                self.store.end(cell["id"], RunInterrupted(GIVEN_UP, 0.0))

    def _study(self, spec: Spec) -> "Study":
        import optuna
        from optuna.storages.journal import JournalFileBackend

        assert spec.search is not None
        require_optuna()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            backend = JournalFileBackend(str(search_journal(self.store.path, self.sweep)))
            storage = optuna.storages.JournalStorage(backend)
            directions = ["maximize" if one.higher else "minimize" for one in read_objectives(spec.search["objective"])]
            study = optuna.create_study(
                storage=storage, study_name="sweep", directions=directions, load_if_exists=True,  # type: ignore[arg-type]
                pruner=optuna.pruners.MedianPruner() if spec.search["prune"] else optuna.pruners.NopPruner(),
            )  # fmt: skip
        return study

    def _sampler(self, spec: Spec, number: int) -> "BaseSampler":
        """Return what chooses the values of a trial: the same ones after every interruption."""
        import optuna

        assert spec.search is not None
        kind = optuna.samplers.RandomSampler if spec.search["sampler"] == "random" else optuna.samplers.TPESampler
        return kind(seed=spec.first_seed % 2**31 + number)

    def _spec(self) -> tuple[Spec, str]:
        with Reader(self.store.path) as reader:
            found = find_sweep(reader, str(self.sweep))
        return Spec.from_plain(found.spec), found.name

    def _cells(self) -> dict[int, list[dict[str, Any]]]:
        groups: dict[int, list[dict[str, Any]]] = {}
        with Reader(self.store.path) as reader:
            for cell in cells_of(reader, self.sweep):
                groups.setdefault(cell["point"], []).append(cell)
        return groups

    def _alone(self) -> AbstractContextManager[None]:
        """Hold the search, which one worker at a time thinks about."""
        journal = search_journal(self.store.path, self.sweep)
        journal.parent.mkdir(exist_ok=True)
        return holding(journal.with_suffix(".turn"), lambda holder: time.sleep(0.05))


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


def _suggest(trial: "Trial", name: str, space: Mapping[str, Any]) -> Any:
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
