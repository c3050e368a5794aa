"""JSON that every reader can parse, whatever the figures."""

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from core.events import Epoch, Measured, Step, Warned
from core.store.codec import decode, encode
from core.valid_json import json_of


@dataclass
class Pair:
    first: float
    second: object


def strictly(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "word"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")], ids=str
)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_not_finite_is_a_word_wherever_it_stands(value: float, word: str, indent: int | None) -> None:
    data = {"one": value, "more": [1, (value, "nan")], "pair": Pair(value, Pair(0.5, value))}
    found = {"one": word, "more": [1, [word, "nan"]], "pair": {"first": word, "second": {"first": 0.5, "second": word}}}
    assert strictly(json_of(data, indent=indent)) == found
    assert str(float(word)) == str(value)


def test_finite_figures_are_written_as_they_are() -> None:
    assert json_of({"a": 0.1, "b": [1, None, True, "é"], "c": Pair(1e308, 2)}) == (
        '{"a":0.1,"b":[1,null,true,"\\u00e9"],"c":{"first":1e+308,"second":2}}'
    )


def test_stored_events_are_valid_json_and_come_back_as_they_were() -> None:
    events = [
        Measured("evaluation", "early exit", None, "eval", "all", 20, math.inf, 0.5, (1.0, -math.inf), 0.0),
        Epoch("block0.lm", 1, math.inf, -math.inf, None, None, False, None, 1.0),
        Step("block0.lm", 1, 1, math.inf, 4, 1.0),
        Warned("NaN"),
    ]
    rows = list(encode(events))
    for _, text in rows:
        strictly(text)
    assert [event for row in rows for event in decode(row)] == events
