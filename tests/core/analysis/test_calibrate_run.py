"""Thresholds for a stored run: promises and refusals."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from core.analysis.calibrate_run import calibrate
from core.analysis.calibration_request import CalibrationRequest
from core.errors import UsageError
from core.store.reader import Reader
from tests.analysed_runs import calibrated
from tests.stored_tokens import store_run


def test_a_risk_budget_gives_thresholds_that_hold_on_the_test_half(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01))
    assert result.choice.thresholds is not None
    assert result.units == (40, 180, 180)
    assert 0.9 < result.test.shallow_ratio <= 1
    assert result.test.ppl_increase < 0.01
    assert result.test.ppl == pytest.approx(result.test.all_blocks_ppl * math.exp(result.test.excess))
    assert result.test.layer_savings == pytest.approx(result.test.shallow_ratio / 2)
    assert result.test.flop_savings < result.test.layer_savings
    assert result.choice.violations is not None
    assert result.choice.violations.rate <= 0.1


def test_a_tight_budget_stops_where_exits_no_longer_pay(tmp_path: Path) -> None:
    """On average an exit lowers the loss if the signal is above 1/2; all of them together change nothing."""
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.0), windows=2000)
    assert result.choice.thresholds is not None
    assert 0 < result.choice.thresholds[0] < 0.5
    assert result.test.excess < 0


def test_conformal_risk_control_takes_several_windows_to_a_unit_and_promises_a_mean(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.02, method="crc"), windows=2000)
    assert result.unit_windows == 8
    assert sum(result.units) == 250
    assert result.choice.thresholds is not None
    assert result.choice.guarantee.startswith("On average")
    assert result.choice.violations_expected is None
    assert result.test.ppl_increase < 0.02


@pytest.mark.parametrize("method", ["ltt", "crc"])
def test_a_budget_over_prices_gives_one_price_that_holds_on_the_test_half(tmp_path: Path, method: str) -> None:
    request = CalibrationRequest(max_ppl_increase=0.02, method=method, over="price")
    result = calibrated(tmp_path, request, windows=800, blocks=3)
    assert result.choice.thresholds is not None
    assert result.choice.price is not None
    assert f"One price sets all thresholds: {result.choice.price:.4g} nats" in result.choice.guarantee
    assert 0.2 < result.test.layer_savings
    assert result.test.ppl_increase < 0.02
    assert result.choice.violations is not None
    assert result.choice.violations.rate <= 0.1 if method == "ltt" else result.choice.violations.mean_excess <= 0.02


def test_an_exit_rate_is_met_and_promises_nothing_about_the_loss(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(exit_rate=0.3), blocks=3)
    assert result.choice.thresholds is not None
    assert len(result.choice.thresholds) == 2
    assert result.calibration.exit_shares == pytest.approx((0.3, 0.21, 0.49), abs=0.001)
    assert "no promise" in result.choice.guarantee
    assert result.choice.violations is None


@pytest.mark.parametrize(
    "request_", [CalibrationRequest(exit_rate=0.0), CalibrationRequest(max_ppl_increase=0.0, method="crc")]
)
def test_never_exiting_costs_and_saves_nothing(tmp_path: Path, request_: CalibrationRequest) -> None:
    result = calibrated(tmp_path, request_)
    assert result.choice.thresholds is None
    assert (result.test.excess, result.test.flop_savings, result.test.exit_shares) == (0, 0, (0, 1))


def test_too_few_windows_say_how_many_are_needed(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01), windows=8)
    assert result.choice.thresholds is None
    assert any("at least" in note and "are needed" in note for note in result.notes)
    with pytest.raises(UsageError, match="at least 3 are needed"):
        calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01), windows=2)


def test_the_reader_is_told_where_the_promise_is_not_about_what_the_run_does(tmp_path: Path) -> None:
    assert not [
        note for note in calibrated(tmp_path, CalibrationRequest(exit_rate=0.5), measured=-0.025).notes if "own" in note
    ]
    warned = calibrated(tmp_path, CalibrationRequest(exit_rate=0.5), measured=0.3)
    assert any("measured +34.99% PPL" in note for note in warned.notes)


def test_the_run_s_own_thresholds_stand_beside(tmp_path: Path) -> None:
    own = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01)).own
    assert own.shallow_ratio == pytest.approx(0.5, abs=0.02)
    assert own.excess == pytest.approx(-0.025, abs=0.01)


def test_the_same_request_gives_the_same_thresholds_and_another_seed_another_split(tmp_path: Path) -> None:
    number = store_run(tmp_path / "runs.db")
    request = CalibrationRequest(max_ppl_increase=0.005)
    with Reader(tmp_path / "runs.db") as reader:
        first, again = (calibrate(reader, number, request) for _ in range(2))
        other = calibrate(reader, number, replace(request, seed=1))
    assert first == again
    assert first.test.ppl != other.test.ppl


def test_a_request_that_can_not_be_met_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.1, exit_rate=0.1))
