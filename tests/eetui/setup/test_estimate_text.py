"""The estimate, drawn without an app."""

import pytest

from core.estimate.estimate import Estimate
from core.estimate.workload import Span
from eetui.setup.estimate_text import Forecast, amount, forecast_lines, forecast_table, headline, rough_duration

ESTIMATE = Estimate(
    runs=3,
    train_tokens=65_536,
    eval_tokens=12_288,
    vocab_size=4096,
    parameters=787_074,
    epochs=Span(3, 5),
    trained_tokens=Span(393_504, 655_840),
    flops=Span(9.3e11, 1.955e12),
    seconds=Span(21.4, 63.0),
    memory=503_000_000,
    device="cpu",
)


def test_an_estimate_is_two_lines_below_a_form_that_fit_80_columns() -> None:
    lines = forecast_lines(Forecast(ESTIMATE)).plain.splitlines()
    assert lines == [
        "3 runs · 65,536 + 12,288 tokens · 4,096 words · 787 k weights",
        "0.93–1.96 TFLOP · 21s–1m03s · 503 MB memory · 3–5 epochs a block",
    ]
    assert max(map(len, lines)) <= 78


def test_an_estimate_is_a_table_beside_a_form() -> None:
    table = forecast_table(Forecast(ESTIMATE))
    assert getattr(table, "row_count", 0) == 9


def test_an_estimate_says_when_not_to_trust_it() -> None:
    assert headline(Forecast(ESTIMATE, beside_training=True)).plain.endswith("unreliable")
    assert headline(Forecast(ESTIMATE, "measuring…", beside_training=True)).plain == "Estimate  measuring…"
    assert forecast_lines(Forecast(problem="× corpus x does not exist")).plain == "× corpus x does not exist"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (5, 5, "5 tokens"),
        (999.4, 999.4, "999 tokens"),
        (262_000, 1_310_000, "0.262–1.31 M tokens"),
        (0, 0, "0 tokens"),
    ],
)
def test_amounts_share_one_prefix(low: float, high: float, expected: str) -> None:
    assert amount(Span(low, high), " tokens") == expected


def test_rough_durations_have_no_fractions_of_a_second() -> None:
    assert [rough_duration(seconds) for seconds in (0.1, 7.3, 59.4, 59.6, 125)] == ["1s", "7s", "59s", "1m00s", "2m05s"]
