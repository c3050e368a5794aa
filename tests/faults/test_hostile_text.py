"""Text of others' databases, corpora and command lines: no command lets a terminal obey it; data stay exact."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from core.store.reader import Reader
from tests.hostile import ALL, ATTACKS, call, harmful, hostile_text, poison
from tests.trained_run import train_run

LONG = "n" * 1_000_000


@pytest.fixture(scope="module")
def trained_on_hostile_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    train_run(folder / "runs.db", hostile_text(folder), eval_ratio=0.4)
    poison(folder / "runs.db", ALL)
    return folder / "runs.db"


@pytest.fixture
def database(trained_on_hostile_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in trained_on_hostile_text.parent.glob("runs*"):
        copy = shutil.copytree if file.is_dir() else shutil.copy
        copy(file, tmp_path / file.name)
    monkeypatch.setenv("EETUI_DB", str(tmp_path / "runs.db"))
    return tmp_path / "runs.db"


TEXTS = [
    ["ls"], ["show", "1"], ["compare", "1"], ["compare", "1", "report:loss"], ["compare", "1", "--format", "md"],
    ["quality", "1"], ["calibrate", "1", "--exit-rate", "50%"], ["diagnose", "1"],
    ["generate", "1", "--prompt", f"plain {ATTACKS[1]}", "--max-tokens", "30"], ["ls", "--deleted"],
]  # fmt: skip
"""Commands that print text."""


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("arguments", TEXTS, ids=" ".join)
def test_no_text_is_obeyed(
    arguments: list[str], terminal: bool, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(arguments, monkeypatch, terminal=terminal)
    assert code == 0, err
    assert harmful(out, coloured=terminal) == []
    assert harmful(err, coloured=terminal) == []
    assert "\x1b[8m" not in out + err
    if "--format" not in arguments and arguments[0] in ("show", "compare"):
        assert "[red]x[/]" in out  # no markup


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["show", "1"], ["compare", "1"], ["quality", "1"], ["diagnose", "1"],
     ["calibrate", "1", "--exit-rate=50%"], ["generate", "1", "--prompt", "plain", "--max-tokens", "30"]],
    ids=" ".join,
)  # fmt: skip
def test_json_is_plain_ascii_and_exact(arguments: list[str], database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = call([*arguments, "--json"], monkeypatch, terminal=True)
    assert code == 0, err
    assert out.isascii()
    assert harmful(out) == []
    data = json.loads(out)
    assert ALL in json.dumps(data, ensure_ascii=False).encode().decode() or ALL in _strings(data)


def _strings(data: object) -> list[str]:
    if isinstance(data, dict):
        return [text for pair in data.items() for one in pair for text in _strings(one)]
    if isinstance(data, list):
        return [text for one in data for text in _strings(one)]
    return [data] if isinstance(data, str) else []


def test_csv_in_a_file_is_exact_and_on_a_terminal_harmless(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, piped, _ = call(["compare", "1", "--format", "csv"], monkeypatch)
    rows = list(csv.reader(io.StringIO(piped, newline="")))
    assert {row[2] for row in rows[1:]} == {ALL}
    assert len({len(row) for row in rows}) == 1
    _, shown, _ = call(["compare", "1", "--format", "csv"], monkeypatch, terminal=True)
    assert harmful(shown) == []


def test_a_huge_name_is_shortened(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(database, LONG)
    for arguments in (["ls"], ["show", "1"], ["compare", "1"], ["compare", "1", "--format", "md"], ["quality", "1"]):
        code, out, err = call(arguments, monkeypatch)
        assert code == 0, err
        assert "nnn" in out
        assert "…" in out
        assert len(out) < 100_000
    _, out, _ = call(["ls", "--json"], monkeypatch)
    assert json.loads(out)[0]["name"] == LONG


COMMAND_LINES = [
    ["{}"], ["ls", "{}"], ["ls", "--sort", "{}"], ["show", "{}"], ["--{}"], ["ls", "--limit", "{}"],
    ["run", "--no-ui", "--set", "{}"], ["run", "--no-ui", "--set", "lr={}"], ["run", "--no-ui", "--corpus", "{}"],
    ["run", "--no-ui", "--corpus", "missing", "--name", "{}"], ["run", "--no-ui", "--corpus", "missing", "-m", "{}"],
    ["calibrate", "1", "--exit-rate", "{}"], ["compare", "--format", "{}"], ["rm", "{}", "-y"], ["restore", "{}"],
    ["show", "1", "{}"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
def test_a_command_line_is_repeated_harmless(
    arguments: list[str], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attack in ATTACKS:
        if "\0" not in attack:
            code, out, err = call([word.format(attack) for word in arguments], monkeypatch, terminal=True)
            assert code in (0, 2)
            assert harmful(out + err, coloured=True) == []
            assert "\x1b[8m" not in out + err
            assert "Traceback" not in err


def test_deleting_and_restoring_name_runs_harmless(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["rm", "1", "-y"], ["ls", "--deleted"], ["restore", "1"]):
        code, out, err = call(arguments, monkeypatch, terminal=True)
        assert code == 0, err
        assert harmful(out + err, coloured=True) == []
        assert "\x1b[8m" not in out + err
    with Reader(database) as reader:
        assert reader.runs()[0]["name"] == ALL


@pytest.mark.parametrize("bad", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_words_that_are_no_text_are_refused(bad: bytes, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = bad.decode("utf-8", "surrogateescape")
    for arguments in (
        ["ls", word],
        ["show", word],
        ["run", "--no-ui", "--name", word],
        ["generate", "1", f"--prompt={word}"],
    ):
        code, out, err = call(arguments, monkeypatch)
        assert (code, out) == (2, "")
        assert err.startswith("eetui: b'")
        assert "is no text in the encoding of this terminal" in err
