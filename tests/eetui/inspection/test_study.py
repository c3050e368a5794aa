"""A run opened for inspection, and why some can't be."""

from pathlib import Path

import pytest

from core.analysis.price_curve import HIGHEST, LOWEST
from core.errors import UsageError
from core.pricing.thresholds import NEVER
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.inspection.prices import moved_price
from eetui.inspection.study import Study, load
from tests.scripted_runs import add, config, keep_tokens, make_database, scripted
from tests.stored_tokens import store_run
from tests.trained_run import train_run


def opened(path: Path, run: int) -> Study:
    with Reader(path) as reader:
        return load(reader, reader.run(run))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_a_study_begins_with_the_thresholds_that_the_run_set(path: Path) -> None:
    study = opened(path, store_run(path, windows=20, blocks=3))
    assert study.own.thresholds == study.now.thresholds == (0.5, 0.5)
    study.move(0.25)
    study.select(1)
    study.move_rate(0.1)
    assert study.now.thresholds[0] == 0.75
    assert study.now.thresholds[1] < 0.5
    study.reset()
    assert study.now is study.own


def test_histogram_and_curve_are_worked_out_once_for_what_they_depend_on(path: Path) -> None:
    study = opened(path, store_run(path, windows=20, blocks=3))
    histogram, curve = study.histogram(), study.curve()
    study.move(0.1)
    assert study.histogram() is histogram
    assert study.curve() is curve
    study.select(1)
    assert study.histogram() is not histogram
    assert study.curve() is not curve


def test_a_run_without_exits_has_nothing_to_move(path: Path, text: Path) -> None:
    with pytest.raises(UsageError, match="trained without exits"):
        opened(path, train_run(path, text, protocol="full_depth"))
    with pytest.raises(UsageError, match="single block"):
        opened(path, store_run(path, windows=3, blocks=1))


def test_a_run_that_has_not_set_its_thresholds_says_so(path: Path) -> None:
    make_database(path)
    with Writer(path) as writer:
        events = [event for event in scripted() if not getattr(event, "stage", "").endswith(".hard")]
        keep_tokens(writer, run := add(writer, events))
    with pytest.raises(UsageError, match="has not set its thresholds yet"):
        opened(path, run)


def test_a_run_that_waits_is_waited_for(path: Path) -> None:
    with Writer(path) as writer:
        (run,) = writer.create_experiment([NewRun("waits", "loss", 1, None, config().model_dump_json(), {})])
    with pytest.raises(UsageError, match="wait for it here"):
        opened(path, run)


def test_at_a_higher_price_all_exits_let_more_tokens_out_and_figures_are_those_of_the_thresholds(path: Path) -> None:
    study = opened(path, store_run(path, windows=400, blocks=3))
    assert study.price is None
    assert not study.moves_price
    saved = [study.prices.saved(study.now)]
    study.switch()
    for _ in range(3):
        study.move_by(0.01)
        assert study.price is not None
        assert study.now.thresholds == study.prices.thresholds_at(study.price)
        saved.append(study.against_static().savings)
        assert saved[-1] == pytest.approx(study.now.outcome.layer_savings)
        assert study.against_static().loss == pytest.approx(study.now.outcome.loss)
    assert saved[1:] == sorted(saved[1:])
    assert saved[1] == pytest.approx(saved[0], abs=0.1)  # the first price is the one nearest in savings
    study.reset()
    assert (study.price, study.now) == (None, study.own)


def test_a_threshold_moved_by_itself_has_no_price(path: Path) -> None:
    study = opened(path, store_run(path, windows=40, blocks=3))
    study.move_price(1)
    assert study.price is not None
    study.move(0.01)
    assert study.price is None


def test_a_threshold_goes_off_beyond_one_and_comes_back(path: Path) -> None:
    study = opened(path, store_run(path, windows=20))
    seen = []
    for step in (0.6, 0.01, 0.01, -0.01, -0.01):
        study.move(step)
        seen.append(study.now.thresholds[0])
    assert seen == [1.0, NEVER, NEVER, 1.0, 0.99]


def test_prices_move_at_equal_ratios_between_nothing_and_the_highest() -> None:
    assert moved_price(0.0, -1) == 0.0
    assert moved_price(0.0, 1) == LOWEST
    assert moved_price(LOWEST, -1) == 0.0
    assert moved_price(0.05, 5) / 0.05 == pytest.approx(0.05 / moved_price(0.05, -5))
    assert moved_price(HIGHEST, 1) == HIGHEST
