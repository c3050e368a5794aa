"""A search instead of a grid: Optuna chooses the values of each trial, from what the trials before came to.

Optuna keeps its study in a journal beside the database. A trial is a combination of values with a run for each seed;
its number is the run's point. What Optuna knows follows from the runs in the store: a trial that was begun and not told
is told by whoever looks next.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, UsageError
from core.events import Epoch, Event, Publish
from core.state import Status
from core.store.files import search_journal
from core.store.lock import holding
from core.store.queue import drop, leave, waiting
from core.store.reader import Reader
from core.store.stored_sweeps import PRUNED, cells_of, find_sweep, trial_of
from core.store.writer import Writer
from core.sweeps.create import plan_sweep, store_more
from core.sweeps.objective import mean_of, read_constraint, read_objectives
from core.sweeps.search_space import require_optuna, suggest
from core.sweeps.spec import Setting, Spec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

GIVEN_UP = f"{PRUNED} its first epochs were worse than the median of the trials before"


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
            leave(self.store, run)
            self._mark(run)
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
        """Report an epoch of a trial's first seed; one of a trial that is pruned already ends with it."""
        from optuna.trial import TrialState

        cells = self._trial_cells(run)
        if any(cell["error"] == GIVEN_UP for cell in cells):
            self.pruned.add(run)
        cell = next((cell for cell in cells if cell["id"] == run), None)
        if cell is None or cell["seed"] != spec.first_seed:
            return
        step = self._steps[run] = self._steps.get(run, -1) + 1
        with self._alone():
            study = self._study(spec)
            trial = self._trial(study, study.get_trials(deepcopy=False)[cell["point"]])
            state = trial.storage.get_trial(trial._trial_id).state
            if not state.is_finished():
                trial.report(loss, step)
            if state == TrialState.PRUNED or (not state.is_finished() and trial.should_prune()):
                self.pruned.add(run)

    def _begin(self, study: "Study", spec: Spec, name: str, number: int, trial: "Trial") -> bool:
        """Store the runs of a trial; one whose values are refused has failed."""
        from optuna.trial import TrialState

        assert spec.search is not None
        setting = Setting(number, {key: suggest(trial, key, space) for key, space in spec.search["space"].items()})
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
        """Take the other seeds of a pruned trial that wait out of the queue; those in training end at an epoch."""
        with Reader(self.store.path) as reader:
            idle = set(waiting(reader, self.sweep))
        for cell in self._trial_cells(run):
            if cell["id"] in idle:
                with suppress(UsageError):  # another process has taken it meanwhile
                    drop(self.store, [cell["id"]], GIVEN_UP)
                    self._mark(cell["id"])

    def _mark(self, run: int) -> None:
        """Say of an interrupted run that it was pruned."""
        with self.store.transaction() as connection:
            sql = "UPDATE runs SET error = ? WHERE id = ? AND status = 'interrupted'"
            connection.execute(sql, [GIVEN_UP, run])

    def _trial_cells(self, run: int) -> list[dict[str, Any]]:
        with Reader(self.store.path) as reader:
            return trial_of(reader, run)

    def _study(self, spec: Spec) -> "Study":
        require_optuna()
        import optuna
        from optuna.storages.journal import JournalFileBackend

        assert spec.search is not None
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
