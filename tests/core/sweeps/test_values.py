"""Values of a sweep as they are written."""

import pytest

from core.errors import ConfigError
from core.sweeps.values import Range, read_axis


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.3,0.5", [0.3, 0.5]),
        ("[1,1],[2,2]", [[1, 1], [2, 2]]),
        ("0.3..0.7:0.2", [0.3, 0.5, 0.7]),
        ("1..4:1", [1, 2, 3, 4]),
        ('a.txt,"b,c.txt"', ["a.txt", "b,c.txt"]),
        ("true,false", [True, False]),
        ("loss", ["loss"]),
    ],
)
def test_values_are_separated_by_commas_outside_brackets_and_quotes(text: str, values: list[object]) -> None:
    assert list(read_axis("name", text).values) == values


def test_a_range_without_a_step_is_one_to_search_in() -> None:
    found = read_axis("lr", "1e-4..1e-2:log").values
    assert isinstance(found, Range)
    assert (float(found.low), float(found.high), found.step, found.log) == (1e-4, 1e-2, None, True)


@pytest.mark.parametrize("text", ["", "0.3,", "0.7..0.3:0.1", "0.3..0.7:0", "0.3..0.3", "0..1:log", "1..1e99999999:1"])
def test_what_has_no_values_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"empty|above 0|beyond"):
        read_axis("hard_ratio", text)
