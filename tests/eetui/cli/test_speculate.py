"""Speculation from the command line: the text is plain decoding's, what it did is said, bad requests are refused."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.analysis.speculation_sweep import Sweep, Trial
from core.analysis.speculative_text import Speed
from core.early_exit.draft_length import Drafting
from core.early_exit.speculation import Tally
from core.errors import UsageError
from core.protocol import checkpoint
from eetui.cli.main import app
from eetui.cli.speculate import sweep_json, sweep_text
from tests.conftest import Eetui
from tests.eetui.plain_text import plain_words
from tests.trained_run import train_run

TWICE, HALF = ([(2.0, 1.0)] * 6, [(1.0, 2.0)] * 6)


@pytest.fixture(scope="module")
def database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speculate") / "runs.db"
    train_run(path, text, seq_len=16, block_layers=(1, 1, 1), method="softmax")
    return path


def json_of(eetui: Eetui, database: Path, *arguments: str) -> dict:
    done = eetui(
        "generate", "1", "--prompt", "w1 w2", "--max-tokens", "10", *arguments, "--json", EETUI_DB=str(database)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", [("--draft", "3", "--rounds", "6"), ("--exit", "1", "--rounds", "0")])
def test_greedy_text_is_token_by_token_that_of_plain_decoding(
    eetui: Eetui, database: Path, how: tuple[str, ...]
) -> None:
    plain = json_of(eetui, database, "--temperature", "0", "--speculate", "--draft", "0", "--rounds", "0")
    found = json_of(eetui, database, "--temperature", "0", "--speculate", *how)
    assert plain["speculation"]["drafted"] == 0
    assert found["text"] == plain["text"]
    tokens, expected = (
        [token["token"] for one in data["passes"] for token in one["tokens"]] for data in (found, plain)
    )
    assert tokens == expected
    speed = found["speculation"]["speed"]
    assert (speed is None) if "0" in how[-1:] else speed["interval"]["low"] <= speed["ratio"]


def test_figures_go_to_standard_error_and_the_text_alone_to_standard_output(eetui: Eetui, database: Path) -> None:
    where = {"EETUI_DB": str(database)}
    options = ("--prompt", "w1 w2", "--max-tokens", "5", "--speculate", "--draft-until", "0", "--rounds", "6")
    done = eetui("generate", "1", *options, **where)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("w1 w2 ")
    assert len(done.stdout.split()) == 7
    for words in (
        "never saves FLOPs",
        " accepted, ",
        "tokens a pass",
        "by exit: 0 ",
        "tokens/s against",
        "95% interval",
    ):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("generate", "1", "--prompt", "w1", "--draft", "2"),
            "without --speculate nothing is drafted: add it, or leave out --draft",
        ),
        (("generate", "1", "--prompt", "w1", "--speculate", "--exit", "7"), "--exit must be a block from 0 to 1"),
        (("speculate", "1", "--lengths", "1,x"), "--lengths takes whole numbers such as 1,2,4, got '1,x'"),
        (("speculate", "9"), "there is no run '9'"),
    ],
)
def test_bad_requests_are_one_line_and_code_2(
    eetui: Eetui, database: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = eetui(*arguments, EETUI_DB=str(database))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "--prompt", "w1", "--speculate", "--exit", "7"), "--exit must be a block from 0 to 1"),
        (("speculate", "--exits", "7"), "--exit must be a block from 0 to 1"),
        (("generate", "--prompt", "w1", "--window", "0"), "the window must be at most .* and at least 1, got 0"),
        (("generate", "--prompt", ""), "the prompt has no token in it"),
        (("generate", "--prompt", "w1", "--temperature", "-1"), "--temperature must be at least 0"),
        (("speculate", "--lengths", "0"), "--lengths must be at least 1"),
        (("speculate", "--prompt", "w1", "--prompt", ""), "the prompt has no token in it"),
    ],
)  # fmt: skip
def test_what_the_run_s_config_rules_out_is_refused_before_its_model_is_loaded(
    database: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "build_model", lambda *_: pytest.fail("nothing may be loaded"))
    command, *options = arguments
    result = CliRunner().invoke(app, [command, "1", *options, "--db", str(database)])
    assert isinstance(result.exception, UsageError)
    assert re.search(message, str(result.exception))


def test_a_sweep_answers_with_what_to_use(eetui: Eetui, database: Path) -> None:
    options = ("--lengths", "2", "--exits", "0,1", "--rounds", "6", "--max-tokens", "4", "--json")
    done = eetui("speculate", "1", *options, EETUI_DB=str(database))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [(trial["exit"], trial["draft"]) for trial in data["trials"]] == [(0, 2), (0, None), (1, 2), (1, None)]
    assert data["pays"] == data["verdict"].startswith("Use --exit ")
    assert (data["prompts"], data["tokens"]) == (4, 4)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (TWICE, "Use --exit 1 --draft 2: 2.00 times the speed of plain decoding, 95% interval 2.00 to 2.00."),
        (HALF, "Speculation does not pay here: the fastest setting, --exit 1 --draft 2, has 0.50 times the speed"),
    ],
)
def test_a_sweep_is_a_table_and_a_verdict(turns: list[tuple[float, float]], words: str) -> None:
    tally = Tally(4, 8, 6, 4, 1.5)
    trials = (Trial(Drafting(0), tally, 0.4), Trial(Drafting(1, 2), tally, 0.9, Speed.of(turns, 8)))
    found = Sweep(1, "mine-1", 2, 4, 50.0, (0.25, 0.5), trials)
    shown = plain_words(sweep_text(found), width=150)
    for part in ("0 priced 4 2 66.67% 2.00 1.50 0.40", "by exit: 0 25.00% 1 50.00%", "never saves FLOPs", words):
        assert part in shown
    data = json.loads(sweep_json(found))
    assert data["best"] == {"exit": 1, "draft": 2}
    assert data["pays"] == (turns is TWICE)
    assert data["trials"][0]["speed"] is None
