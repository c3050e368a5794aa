"""Calibration requests that are refused."""

import math

import pytest

from core.analysis.calibration_request import CalibrationRequest
from core.errors import UsageError


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (CalibrationRequest(), "--max-ppl-increase, such as 1%, or --exit-rate, such as 50%"),
        (CalibrationRequest(max_ppl_increase=0.1, exit_rate=0.1), "not both"),
        (CalibrationRequest(max_ppl_increase=-0.1), "at least 0, got -0.1"),
        (CalibrationRequest(max_ppl_increase=math.nan), "at least 0"),
        (CalibrationRequest(exit_rate=1.5), "between 0% and 100%"),
        (CalibrationRequest(exit_rate=0.5, delta=0), "--delta"),
        (CalibrationRequest(exit_rate=0.5, method="bonferroni"), "ltt or crc"),
        (CalibrationRequest(exit_rate=0.5, unit_windows=0), "--unit-windows"),
        (CalibrationRequest(max_ppl_increase=0.1, over="cost"), "rate or price, got 'cost'"),
        (CalibrationRequest(exit_rate=0.5, over="price"), "--over price is for --max-ppl-increase"),
    ],
)
def test_requests_that_can_not_be_met_are_refused(request_: CalibrationRequest, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        request_.check()
