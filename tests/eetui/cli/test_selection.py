"""The runs that words stand for: names, also those that look like filters, and filters."""

from pathlib import Path

import pytest

from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.cli.selection import expanded, selected
from tests.scripted_runs import RECORD, config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        for name, method in (("method:loss", "softmax"), ("ppl<900", "softmax"), ("np", "loss")):
            writer.create_experiment([NewRun(name, method, 1, "seed", config(method, 1).model_dump_json(), RECORD)])
    return path


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["method:loss"], [1]),
        (["method:loss", "np"], [1, 3]),
        (["ppl<900", "3"], [2, 3]),
        (["method:softmax"], [1, 2]),
        (["method:softmax", "method:loss"], []),
        (["ppl<901"], []),
    ],
)
def test_a_name_that_looks_like_a_filter_is_a_name(words: list[str], numbers: list[int], path: Path) -> None:
    with Reader(path) as reader:
        assert [row["id"] for row in reader.runs(selected(reader, words), ("id",))] == numbers
        if numbers:
            assert [reader.find(word) for word in expanded(reader, words)] == numbers
