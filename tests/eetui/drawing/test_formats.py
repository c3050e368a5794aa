"""JSON, CSV and Markdown: exact where they are data, and harmless to terminals, spreadsheets and renderers."""

import csv
import io
import json
import math

import pytest

from eetui.drawing.formats import csv_text, free_stem, json_text, markdown
from tests.hostile import ALL, ATTACKS, harmful


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_json_is_ascii_and_exact() -> None:
    data = {ALL: [ALL, "naïve", "\ud800", 1, 2.5, True, None]}
    assert json.loads(json_text(data)) == data
    assert json_text(data).isascii()
    assert harmful(json_text(data)) == []


def test_json_has_no_number_that_is_none() -> None:
    assert json.loads(json_text({"a": [math.inf, -math.inf, math.nan, 1e308]}), parse_constant=pytest.fail) == {
        "a": ["Infinity", "-Infinity", "NaN", 1e308]
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", " ="])
def test_a_text_is_no_formula(start: str) -> None:
    assert read(csv_text([[f"{start}1+cmd|x"]])) == [[f"'{start}1+cmd|x"]]


@pytest.mark.parametrize("figure", [-1.5, -3, 1e-9, "-0.5", "+3", "-1e-9", "–", "a=b", "", None])
def test_figures_and_other_texts_stay(figure: object) -> None:
    assert read(csv_text([["x", figure]])) == [["x", "" if figure is None else str(figure)]]


def test_rows_stay_rows() -> None:
    rows = [["a", text, "b"] for text in (*ATTACKS, "lone\rcr", 'quo"te', "com,ma", "new\nline")]
    found = read(csv_text(rows))
    assert [row[1].removeprefix("'") for row in found] == [row[1] for row in rows]


@pytest.mark.parametrize("mark", list("\\`*_[]<>|#~$&"))
def test_a_mark_of_markdown_is_escaped(mark: str) -> None:
    assert markdown(f"a{mark}b") == f"a\\{mark}b"


def test_a_text_in_markdown_is_one_harmless_line() -> None:
    for attack in ATTACKS:
        assert harmful(markdown(attack)) == []
        assert "\n" not in markdown(attack)
    assert markdown("a\nb\u2028c") == "a b c"


@pytest.mark.parametrize(
    ("taken", "expected"),
    [([], "a"), (["a.svg"], "a-2"), (["a.csv", "A-2.SVG"], "a-3"), (["a", "a.png", "b.csv"], "a")],
)
def test_a_stem_is_numbered_until_none_of_its_names_is_taken(taken: list[str], expected: str) -> None:
    assert free_stem("a", taken, (".svg", ".csv")) == expected
