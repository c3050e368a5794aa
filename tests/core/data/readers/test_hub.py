"""Hugging Face datasets, from a folder that the tests write; the library runs in one process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import DataConfig
from core.data.corpora import load_corpus
from core.errors import CorpusError

needs_datasets = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs the extra hub")

SPLITS = {
    "small": {"train": "rows", "validation": "evaluation", "test": "unused"},
    "tested": {"train": "rows", "test": "evaluation"},
    "whole": {"train": "long"},
    "single": {"train": "single"},
    "two": {"train": "two"},
    "numbers": {"train": "numbers"},
    "untrained": {"test": "evaluation"},
    "blank": {"train": "blank"},
}
TABLES: dict[str, dict[str, list[Any]]] = {
    "rows": {"title": ["x", "y", "z", "w"], "text": ["a b", "c\n", None, "d"]},
    "evaluation": {"text": ["e f"]},
    "unused": {"text": ["unused"]},
    "long": {"text": ["word"] * 2400},
    "single": {"number": [1, 2], "content": ["one", "two"]},
    "two": {"question": ["why"], "answer": ["so"]},
    "numbers": {"number": [1]},
    "blank": {"text": ["", " ", None]},
}
PROGRAM = """
import json, os, sys, warnings
warnings.simplefilter("error")
from core.config.run_config import DataConfig
from core.data.corpora import load_corpus
from core.errors import CorpusError

outcomes = []
for request in json.load(sys.stdin):
    try:
        corpus = load_corpus(DataConfig(**request))
        outcomes.append([corpus.name, corpus.train, corpus.evaluation])
    except CorpusError as error:
        outcomes.append(str(error))
with open(sys.argv[1], "w") as file:
    json.dump(outcomes, file)
"""
CASES: dict[str, dict[str, str]] = {
    **{name: {"corpus": f"hub:FOLDER:{name}"} for name in SPLITS},
    "home": {"corpus": "hub:~/dataset:small"},
    "unknown config": {"corpus": "hub:FOLDER:nope"},
    "no config": {"corpus": "hub:FOLDER"},
    "out of reach": {"corpus": "hub:eetui-tests/not-cached"},
    "empty folder": {"corpus": "hub:EMPTY"},
    "evaluation only": {"corpus": "TEXT", "eval_corpus": "hub:FOLDER:small"},
    "evaluation from train": {"corpus": "TEXT", "eval_corpus": "hub:FOLDER:single"},
    "evaluation overridden": {"corpus": "hub:FOLDER:small", "eval_corpus": "TEXT"},
}


def write_dataset(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    for name, columns in TABLES.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{name}.parquet")
    lines = ["---", "configs:"]
    for config, splits in SPLITS.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, table in splits.items():
            lines += [f"  - split: {split}", f"    path: {table}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case gives: name, training and evaluation text, or the message of a CorpusError."""
    root = tmp_path_factory.mktemp("hub")
    write_dataset(root / "dataset")
    (root / "empty").mkdir()
    (root / "text.txt").write_text("local text")
    places = {"FOLDER": root / "dataset", "EMPTY": root / "empty", "TEXT": root / "text.txt"}
    requests = json.dumps(list(CASES.values()))
    for placeholder, place in places.items():
        requests = requests.replace(placeholder, place.as_posix())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "EETUI_"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(root),
        "USERPROFILE": str(root),
        "EETUI_CACHE": str(root / "cache"),
        "HF_HOME": str(root / "hf"),
        "HF_DATASETS_CACHE": str(root / "hf" / "datasets"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root / "outcomes.json")],
        input=requests,
        text=True,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given = dict(zip(CASES, json.loads((root / "outcomes.json").read_text()), strict=True))
    return given | {"terminal": done.stdout + done.stderr}


@needs_datasets
def test_a_named_config_gives_its_train_and_validation_splits_a_line_for_each_row(outcomes: dict[str, Any]) -> None:
    name, train, evaluation = outcomes["small"]
    assert name.endswith("/dataset:small")
    assert (train, evaluation) == ("a b\nc\n\nd\n", "e f\n")


@needs_datasets
def test_without_a_validation_split_the_test_split_is_evaluated_on(outcomes: dict[str, Any]) -> None:
    assert outcomes["tested"][1:] == ["a b\nc\n\nd\n", "e f\n"]


@needs_datasets
def test_without_either_split_a_tail_of_every_row_is_held_out(outcomes: dict[str, Any]) -> None:
    assert outcomes["whole"][1:] == ["word\n" * 2000, "word\n" * 400]


@needs_datasets
def test_a_single_string_column_is_the_text_whatever_its_name(outcomes: dict[str, Any]) -> None:
    assert "".join(outcomes["single"][1:]) == "one\ntwo\n"


@needs_datasets
def test_tilde_is_the_home_folder(outcomes: dict[str, Any]) -> None:
    assert outcomes["home"] == ["hub:~/dataset:small", "a b\nc\n\nd\n", "e f\n"]


@needs_datasets
def test_as_evaluation_corpus_a_dataset_gives_its_evaluation_split_else_train(outcomes: dict[str, Any]) -> None:
    assert outcomes["evaluation only"][1:] == ["local text", "e f\n"]
    assert outcomes["evaluation from train"][1:] == ["local text", "one\ntwo\n"]


@needs_datasets
def test_an_evaluation_corpus_wins_over_the_datasets_own_split(outcomes: dict[str, Any]) -> None:
    assert outcomes["evaluation overridden"][1:] == ["a b\nc\n\nd\n", "local text"]


@needs_datasets
@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("unknown config", ["needs a config that exists", "/dataset:CONFIG with one of", *SPLITS]),
        ("no config", ["needs a config that exists", "/dataset:CONFIG with one of", *SPLITS]),
        ("two", ["/dataset:two must have a text column", "got columns question, answer"]),
        ("numbers", ["/dataset:numbers must have a text column", "got columns number"]),
        ("untrained", ["has no train split, only test"]),
        ("blank", ["/dataset:blank is empty: there is no word in it"]),
        ("out of reach", ["corpus hub:eetui-tests/not-cached is out of reach", "use a local file or pydocs"]),
        ("empty folder", ["/empty is unknown"]),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(outcomes: dict[str, Any], case: str, parts: list[str]) -> None:
    assert isinstance(outcomes[case], str), "it was accepted"
    assert [part for part in parts if part not in outcomes[case]] == []
    assert "\n" not in outcomes[case]


@needs_datasets
def test_nothing_is_written_to_the_terminal(outcomes: dict[str, Any]) -> None:
    assert outcomes["terminal"] == ""


def test_a_reference_without_a_name_is_refused() -> None:
    with pytest.raises(CorpusError, match="names no dataset: write hub:NAME or hub:NAME:CONFIG"):
        load_corpus(DataConfig(corpus="hub:"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"needs the package datasets .* pip install 'eetui\[hub\]'"):
        load_corpus(DataConfig(corpus="hub:any"))
