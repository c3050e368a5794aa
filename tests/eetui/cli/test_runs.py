"""`eetui ls`, `show` and `rm`."""

import json
import subprocess

import pytest

from tests.conftest import Eetui

Done = subprocess.CompletedProcess[str]


def test_show_prints_config_record_and_results(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("show", "distill-1", "--json").stdout)
    assert shown["config"]["train"]["max_epochs"] == 2
    assert shown["config"]["data"]["tokenizer"] == "word"
    assert len(shown["record"]["fingerprint"]) == 64
    assert shown["record"]["vocab_size"] == 22
    assert "run --no-ui" in shown["record"]["command"]
    assert shown["metrics"]["eval.oracle"] <= shown["metrics"]["eval.all blocks"]
    assert "exit.hard_ratio" in eetui("show", "1").stdout


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["method:loss"], ["loss-2", "loss-5"]),
        (["soft", "seed=43"], ["softmax-6"]),
        (["tag:tiny", "id<=2"], ["distill-1", "loss-2"]),
        (["status:failed"], []),
        (["savings>200%"], []),
    ],
)
def test_ls_filters(words: list[str], names: list[str], trained: Done, eetui: Eetui) -> None:
    assert [row["name"] for row in json.loads(eetui("ls", "--json", *words, "id<=6").stdout)] == names


@pytest.mark.parametrize("number", ["nan", "NaN%", "low"])
def test_ls_refuses_what_is_no_number(number: str, trained: Done, eetui: Eetui) -> None:
    done = eetui("ls", f"ppl<{number}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be a number" in done.stderr


def test_every_figure_is_below_infinity(trained: Done, eetui: Eetui) -> None:
    assert len(json.loads(eetui("ls", "--json", "ppl<inf", "id<=6").stdout)) == 6


def test_ls_sorts_by_a_column(trained: Done, eetui: Eetui) -> None:
    rows = json.loads(eetui("ls", "--json", "--sort", "ppl", "--reverse", "--limit", "4").stdout)
    figures = [row["final_ppl"] for row in rows]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) == 4
