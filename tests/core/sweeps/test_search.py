"""Searches: the total of trials, whoever dies; the same choices after an interruption."""

from collections.abc import Callable
from typing import Any

import pytest

from core.errors import ConfigError, UsageError
from core.store.files import search_journal
from core.store.queue import take
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.sweeps import create_sweep, update_spec, wait_again
from core.store.writer import Writer
from core.sweeps.search import GIVEN_UP, Search, check_space, search_from, with_trials
from core.sweeps.spec import Spec
from core.sweeps.values import read_axis
from core.sweeps.work import Worker
from tests.core.session.listeners import ignore

pytest.importorskip("optuna")
MakeSpec = Callable[..., Spec]


@pytest.fixture
def make_search(make_spec: MakeSpec) -> Callable[..., Spec]:
    """Return a function that makes a search over hard ratios."""

    def make(trials: int, seeds: int = 1, objective: str = "eval_ppl", text: str = "0.2..0.8", **more: Any) -> Spec:
        axes = [read_axis("exit.hard_ratio", text), read_axis("method", "loss,softmax")]
        plain = search_from("tpe", trials, objective, ["flop_savings>=0"], axes, prune=False)
        return make_spec(seeds=seeds, search={**plain, **more})

    return make


def worker(store: Writer, sweep: int, **more: Any) -> Worker:
    search = Search(store, sweep)
    publish = search.watching(ignore)
    return Worker(store, sweep, publish, more=search.more, after=search.after, given_up=search.pruned, **more)


def chosen(reader: Reader, sweep: int) -> list[dict[str, Any]]:
    return [cell["setting"] for cell in cells_of(reader, sweep)]


def test_a_search_has_as_many_trials_as_it_is_told_with_all_seeds(
    writer: Writer, reader: Reader, make_search: MakeSpec
) -> None:
    spec = make_search(2, seeds=2)
    journal = search_journal(writer.path, 1)  # of another database of this name
    journal.parent.mkdir()
    journal.write_text("no study")
    sweep = create_sweep(writer, "search", spec.as_plain(), [])
    worker(writer, sweep).work()
    cells = cells_of(reader, sweep)
    assert [(cell["point"], cell["status"]) for cell in cells] == [(0, "finished")] * 2 + [(1, "finished")] * 2
    with pytest.raises(ConfigError, match="--trials must be 1 to 10,000, got 10,001"):
        with_trials(spec, 10_001)
    update_spec(writer, sweep, with_trials(spec, 3).as_plain())
    worker(writer, sweep).work()
    worker(writer, sweep).work()
    assert len(cells_of(reader, sweep)) == 6
    study = Search(writer, sweep)._study(spec)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    mean = sum(cell["final_ppl"] for cell in cells[:2]) / 2
    assert study.trials[0].value == pytest.approx(mean)
    journal.unlink()
    with pytest.raises(UsageError, match="the study of search is not in"):
        worker(writer, sweep).work()


def test_an_interrupted_search_chooses_what_it_would_have_chosen(
    writer: Writer, reader: Reader, make_search: MakeSpec
) -> None:
    spec = make_search(3)
    whole, parts = (create_sweep(writer, name, spec.as_plain(), []) for name in ("whole", "parts"))
    worker(writer, whole).work()
    asked = Search(writer, parts)
    with asked._alone():
        asked._study(spec).ask()  # and the process dies before it stores a run
    seen: list[int] = []
    interrupted = worker(writer, parts, should_stop=lambda: len(seen) > 2)
    interrupted.publish = lambda run, events: seen.append(run)
    interrupted.work()
    wait_again(writer, parts, failed=False)
    worker(writer, parts).work()
    assert chosen(reader, parts) == chosen(reader, whole)
    assert {cell["status"] for cell in cells_of(reader, parts)} == {"finished"}


def test_a_trial_that_is_pruned_ends_with_all_its_seeds_and_is_not_tried_again(
    writer: Writer, reader: Reader, make_search: MakeSpec
) -> None:
    sweep = create_sweep(writer, "search", make_search(1, seeds=2, prune=True).as_plain(), [])
    search = Search(writer, sweep)
    assert search.more()
    run = cells_of(reader, sweep)[0]["id"]
    one = Worker(writer, sweep, search.watching(ignore), after=search.after, given_up=search.pruned)
    search.pruned.add(run)
    one.work()
    assert [cell["error"] for cell in cells_of(reader, sweep)] == [GIVEN_UP, GIVEN_UP]
    assert wait_again(writer, sweep, failed=False) == []
    assert take(writer, sweep, lambda key: False) is None
    with search._alone():
        assert [trial.state.name for trial in search._study(search._spec()[0]).trials] == ["PRUNED"]


def test_epochs_are_reported_and_the_worst_pruned(
    writer: Writer, reader: Reader, make_search: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.pruners import MedianPruner

    monkeypatch.setattr(MedianPruner, "prune", lambda *arguments: True)
    sweep = create_sweep(writer, "search", make_search(1, prune=True).as_plain(), [])
    worker(writer, sweep).work()
    assert [cell["error"] for cell in cells_of(reader, sweep)] == [GIVEN_UP]


def test_ends_of_a_range_that_no_run_may_have_are_refused(make_search: MakeSpec) -> None:
    with pytest.raises(ConfigError, match="must be < 1"):
        check_space(make_search(1, text="0.2..1.5"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"sampler": "gut feeling"}, "must be one of tpe, random"),
        ({"trials": None}, "needs --trials"),
        ({"axes": []}, "needs something to vary"),
        ({"objective": "joy"}, "is no metric"),
        ({"constraints": ["joy>=1"]}, "is no metric"),
        ({"objective": "ppl,accuracy", "prune": True}, "a single --objective"),
    ],
)
def test_a_search_that_can_not_be_meant_is_refused(words: dict[str, Any], message: str) -> None:
    usual = {"sampler": "tpe", "trials": 2, "objective": "ppl", "constraints": [], "prune": False}
    axes = [read_axis("exit.hard_ratio", "0.2..0.8")]
    with pytest.raises(ConfigError, match=message):
        search_from(**{**usual, "axes": axes, **words})  # type: ignore[arg-type]
