"""Users' own exit methods and corpus readers on the command line, from those of the documentation to broken ones."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from core.config.run_config import method_names
from core.exits._facts import CLAIMS, declared_facts
from core.extensions.kinds import CORPUS_READERS
from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options
from tests.packages import install

DOCS = Path(__file__).parents[3] / "docs"
OPTIONS = set_options(*TINY, *TINY_TRAINING)
ROOT = str(Path(__file__).parents[3])
Run = Callable[..., tuple[int, str, str]]


def examples(page: str) -> list[str]:
    """The Python files that a page of the documentation shows."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def first_column(page: str, heading: str) -> list[tuple[str, ...]]:
    """The rows of the table of a page whose first heading is that."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


LENGTH, SLOW = examples("exits.md")
(JSON_LINES,) = examples("corpora.md")


@pytest.fixture
def run(eetui: Eetui, tmp_path: Path) -> Run:
    """Run eetui on a database of the test's: its exit code, standard output and standard error."""

    def call(*arguments: str, **changes: str) -> tuple[int, str, str]:
        done = eetui(*arguments, **{"EETUI_DB": str(tmp_path / "runs.db"), **changes})
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(LENGTH)
    return path


def rows(run: Run, *words: str) -> list[dict]:
    return json.loads(run("ls", "--json", *words)[1])


# The documentation


def test_the_table_of_methods_is_that_of_the_code() -> None:
    shown = {name: (reads_head, claims) for name, _, reads_head, claims in first_column("exits.md", "method")}
    facts = {name: declared_facts(name) for name in method_names()}
    assert shown == {name: ("yes" if fact.reads_head else "no", fact.claims) for name, fact in facts.items()}
    assert tuple(claims for claims, *_ in first_column("exits.md", "claims")) == CLAIMS


def test_the_table_of_corpora_is_that_of_the_code() -> None:
    shown = {usage: tokenizer for usage, _, tokenizer in first_column("corpora.md", "reference")}
    declared = [CORPUS_READERS.declared(name) for name in CORPUS_READERS.built_in]
    assert shown == {reader["usage"]: reader["tokenizer"] for reader in declared}


def test_the_methods_of_the_documentation_train_beside_a_built_in_one(run: Run, text: Path, tmp_path: Path) -> None:
    for name, source in (("length", LENGTH), ("slow", SLOW)):
        (tmp_path / f"{name}.py").write_text(source)
    paths = [str(tmp_path / "length.py"), str(tmp_path / "slow.py")]
    methods = [word for path in (*paths, "loss") for word in ("--method", path)]
    code, _, errors = run("run", "--no-ui", *methods, "--corpus", str(text), *OPTIONS)
    assert code == 0, errors
    assert [(row["name"], row["method"], row["status"]) for row in rows(run)] == [
        ("length-1", "length", "finished"), ("slow-2", "slow", "finished"), ("loss-3", "loss", "finished")
    ]  # fmt: skip
    assert [row["name"] for row in rows(run, "method:slow")] == ["slow-2"]
    stored = json.loads(run("show", "slow", "--json")[1])
    said = stored["record"]["exit_method"]
    assert (said["name"], said["file"], said["claims"]) == ("slow", str(tmp_path / "slow.py"), "rank")
    assert stored["config"]["method"] == f"{said['file']}#sha256={said['sha256']}"
    compared = run("compare")[1]
    assert f"slow (own, {said['sha256'][:8]})" in compared
    for what in (f"slow (own, {said['sha256'][:8]})", str(tmp_path / "slow.py"), said["sha256"]):
        assert what in run("show", "slow", COLUMNS="400")[1]


def test_the_reader_of_the_documentation_reads(run: Run, text: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": line}) for line in text.read_text().splitlines()]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines))
    (tmp_path / "jsonl.py").write_text(JSON_LINES)
    corpus = f"reader:{tmp_path}/jsonl.py:{tmp_path}/articles.jsonl#text"
    code, _, errors = run("run", "--no-ui", "-m", "loss", "--corpus", corpus, *OPTIONS, *set_options("eval_ratio=0.3"))
    assert code == 0, errors
    record = json.loads(run("show", "1", "--json")[1])["record"]
    assert record["corpus"] == corpus
    assert (record["corpus_reader"]["name"], len(record["corpus_reader"]["sha256"])) == ("jsonl", 64)
    assert run("generate", "1", "--prompt", "w1", "--max-tokens", "2")[0] == 0


# Installed packages, and config files


@pytest.mark.soak
def test_an_installed_package_offers_methods_and_corpora_by_name(run: Run, text: Path, tmp_path: Path) -> None:
    files = {"theirs_eetui/__init__.py": "", "theirs_eetui/exit.py": LENGTH, "theirs_eetui/reader.py": JSON_LINES}
    entries = {
        "eetui.exits": {"theirs": "theirs_eetui.exit", "loss": "theirs_eetui.exit"},
        "eetui.corpora": {"jsonl": "theirs_eetui.reader"},
    }
    site = install(tmp_path / "site", "theirs-eetui", files, entries)
    there = {"PYTHONPATH": f"{ROOT}:{site}"}
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"t": line}) for line in text.read_text().splitlines()))
    corpus = ("--corpus", f"jsonl:{tmp_path}/a.jsonl#t", *set_options("eval_ratio=0.3"))
    code, _, errors = run("run", "--no-ui", "-m", "theirs", "-m", "loss", *corpus, *OPTIONS, **there)
    assert code == 0, errors
    assert [row["name"] for row in rows(run)] == ["theirs-1", "loss-2"]
    first, second = (json.loads(run("show", name, "--json")[1])["record"] for name in ("theirs-1", "loss-2"))
    assert first["exit_method"]["package"] == first["corpus_reader"]["package"] == "theirs-eetui 1.2"
    assert second["exit_method"] == {"name": "loss", "reads_head": False, "claims": "p(target)", "learns": True}
    assert "softmax, theirs (own)" in run("run", "--help-config", **there)[1]
    assert run("generate", "1", "--prompt", "w1", "--max-tokens", "2", **there)[0] == 0
    code, _, errors = run("generate", "1", "--prompt", "w1")
    assert code == 2
    assert "exit method theirs must be one of agree, " in errors
    assert "restore it, or start a new run" in errors


@pytest.mark.soak
def test_a_config_file_or_a_set_may_name_a_file(run: Run, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'method = "{mine}"\n')
    for options in (("--config", str(tmp_path / "run.toml")), ("--set", f"method={mine}")):
        code, _, errors = run("run", "--no-ui", *options, "--corpus", str(tmp_path / "none.txt"))
        assert code == 2
        assert "none.txt does not exist" in errors, "the method is good, and the corpus is looked for next"


# What is no good

BROKEN = {
    "no such file": (None, "method must be a file that can be read (No such file or directory), got"),
    "no Python": ("EXIT = = 1\n", "mine.py:1: SyntaxError: invalid syntax"),
    "breaks the contract": (
        LENGTH.replace("before / (before + after)", "observation.known.max_prob"),
        "mine.py:11: reads_head must be True: value needs the head's statistics",
    ),
    "fails": (LENGTH.replace("before / (", "before / nowhere("), "mine.py:15: value raises NameError: name 'nowhere'"),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_method_that_is_no_good_is_one_clear_error_and_nothing_is_stored(
    source: str | None, reason: str, run: Run, text: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    code, output, errors = run("run", "--no-ui", "--method", str(path), "--corpus", str(text), *OPTIONS)
    assert code == 2, errors
    assert reason in errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1
    assert output == ""
    assert not (tmp_path / "runs.db").exists() or rows(run) == []


def test_a_file_must_not_be_called_like_a_built_in_method(run: Run, text: Path, tmp_path: Path) -> None:
    (tmp_path / "softmax.py").write_text(LENGTH)
    code, _, errors = run("run", "--no-ui", "-m", str(tmp_path / "softmax.py"), "--corpus", str(text), *OPTIONS)
    assert code == 2
    assert "method must not be called like the built-in softmax: rename the file, got" in errors


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("READER = 1\n", "mine.py:1: READER must be an instance of a subclass of CorpusReader"),
        (JSON_LINES, "mine.py:20: FileNotFoundError: [Errno 2] No such file or directory: 'none.jsonl'"),
    ],
    ids=["none", "fails"],
)
def test_a_reader_that_is_no_good_is_one_clear_error_and_nothing_is_stored(
    source: str, reason: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(source)
    code, _, errors = run("run", "--no-ui", "--corpus", f"reader:{tmp_path}/mine.py:none.jsonl#text", *OPTIONS)
    assert code == 2, errors
    assert reason in errors
    assert "Traceback" not in errors
    assert rows(run) == []


# What changed or vanished since


@pytest.fixture(scope="module")
def kept(eetui: Eetui, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a method of the user's own, and a database with two runs of it: one finished, one interrupted."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "mine.py").write_text(LENGTH)
    options = ("--method", str(folder / "mine.py"), "--corpus", str(text), *OPTIONS, *set_options("later_lr_scale=0.5"))
    done = eetui("run", "--no-ui", *options, "--seeds", "2", EETUI_DB=str(folder / "runs.db"))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(folder / "runs.db")) as connection, connection:
        connection.execute("UPDATE runs SET status = 'interrupted' WHERE id = 2")
    connection.close()
    return folder


SHOWN = ("ls", "show 1", "compare 1 2", "quality 1")
"""What needs no method of the user's own."""


@pytest.fixture(scope="module")
def shown(kept: Path, eetui: Eetui) -> list[str]:
    """What is shown of the runs while the method is there."""
    return [eetui(*command.split(), EETUI_DB=str(kept / "runs.db")).stdout for command in SHOWN]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "changed"])
def test_a_run_whose_method_changed_or_vanished_is_shown_and_not_run(
    kept: Path, shown: list[str], gone: bool, eetui: Eetui
) -> None:
    method, there = kept / "mine.py", {"EETUI_DB": str(kept / "runs.db")}
    method.unlink() if gone else method.write_text(LENGTH + "# another\n")
    reason = "must be a file that can be read (No such file or directory)" if gone else "has changed: "
    try:
        for command in ("resume --no-ui 2", "generate 1 --prompt w1", "diagnose 1"):
            done = eetui(*command.split(), **there)
            assert (done.returncode, done.stdout) == (2, ""), command
            assert f"exit method mine {reason}" in done.stderr
            assert "Traceback" not in done.stderr
        assert [eetui(*command.split(), **there).stdout for command in SHOWN] == shown
    finally:
        method.write_text(LENGTH)


def test_a_run_goes_on_while_its_method_is_the_same(kept: Path, shown: list[str], eetui: Eetui, tmp_path: Path) -> None:
    database = shutil.copytree(kept, tmp_path / "copy") / "runs.db"
    done = eetui("resume", "--no-ui", "2", EETUI_DB=str(database))
    assert done.returncode == 0, done.stderr
    assert "mine-2  finished" in done.stderr
    assert eetui("diagnose", "1", EETUI_DB=str(database)).returncode == 0


@pytest.mark.soak
def test_a_corpus_that_its_changed_reader_reads_otherwise_can_not_be_resumed(
    run: Run, text: Path, tmp_path: Path
) -> None:
    reader = tmp_path / "mine.py"
    source = f"""
from core.data.readers._contract import CorpusReader, Texts

class Mine(CorpusReader):
    usage = "reader:mine.py"

    def read(self, argument):
        return Texts([open({str(text)!r}).read()])

READER = Mine()
"""
    reader.write_text(source)
    code, _, errors = run("run", "--no-ui", "-m", "loss", "--corpus", f"reader:{reader}", *OPTIONS)
    assert code == 0, errors
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection, connection:
        connection.execute("UPDATE runs SET status = 'interrupted'")
    connection.close()
    reader.write_text(source.replace(".read()", ".read()[500:]"))
    code, _, errors = run("resume", "--no-ui", "1")
    assert code == 2
    assert "is no longer the text that loss-1 (run 1) was trained on, and its reader has changed: restore it" in errors
    reader.write_text(source + "# the same text\n")
    assert run("resume", "--no-ui", "1")[0] == 0
