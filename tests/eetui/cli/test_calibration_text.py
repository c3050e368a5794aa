"""A calibration as `eetui calibrate` shows it, and its options."""

import json
from pathlib import Path

import pytest

from core.analysis.calibration_request import CalibrationRequest
from core.errors import UsageError
from eetui.cli.calibration_text import calibration_json, calibration_table
from eetui.cli.options import as_share
from tests.analysed_runs import calibrated
from tests.eetui.plain_text import plain_words


def test_a_calibration_shows_guarantee_units_and_violations(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01))
    shown = plain_words(calibration_table(result))
    for words in (
        "exit where the signal is at least",
        "With probability at least 90%",
        "at most 1.00% above that of all blocks; the PPL itself is not promised",
        "the 180 calibration units (1 window of 16 tokens each)",
        "units of 1 window: 180 calibrate, 180 test, 40 set the candidates",
        "Over 200 random halvings",
        "without the cap and on units not used for choosing",
        "of capped excess, allows 10%",
        "With each half in one piece of the text",
        "calibrated on a part of the evaluation split",
    ):
        assert words in shown
    assert "On average" in plain_words(
        calibration_table(calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01, method="crc")))
    )


@pytest.mark.parametrize(
    "request_", [CalibrationRequest(exit_rate=0.0), CalibrationRequest(max_ppl_increase=0.0, method="crc")]
)
def test_without_a_safe_threshold_it_says_never_exit(tmp_path: Path, request_: CalibrationRequest) -> None:
    assert "never exit" in plain_words(calibration_table(calibrated(tmp_path, request_)))


def test_json_has_everything(tmp_path: Path) -> None:
    result = calibrated(tmp_path, CalibrationRequest(max_ppl_increase=0.01))
    data = json.loads(calibration_json(result))
    assert result.choice.thresholds is not None
    assert data["choice"]["thresholds"] == list(result.choice.thresholds)
    assert data["request"]["max_ppl_increase"] == 0.01
    assert data["test"]["ppl_increase"] == result.test.ppl_increase
    assert data["choice"]["violations"]["resplits"] == 200


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), (" 0.5 % ", 0.005), ("0.01", 0.01), (None, None)])
def test_a_share_is_read_with_and_without_a_percent_sign(text: str | None, share: float | None) -> None:
    assert as_share("--max-ppl-increase", text) == (None if share is None else pytest.approx(share))


def test_a_share_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--exit-rate takes a share such as 1% or 0\.01, got 'half'"):
        as_share("--exit-rate", "half")
