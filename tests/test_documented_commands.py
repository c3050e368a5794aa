"""Commands that the documentation shows: all parse, with options and values of today; those that read a run are run."""

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from core.config.run_config import build, fields, preset_layer, preset_names, set_layer
from core.store.new_runs import NewRun
from core.store.writer import Writer
from eetui.cli.main import app
from eetui.cli.options import chosen_preset
from eetui.runs.filters import is_filter, parse
from tests.trained_run import train_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = ("decisions.md",)
"""Pages whose sentences tell of commands as they were."""
COMMAND = re.compile(r"(?:\$ )?(?:\w+=\S+ )*(?:torchrun .* -m |nohup |\.venv/bin/)?eetui(?= |$)(.*)")
ENDS = {"|", ">", "&", "&&", ";"}
"""Words of the shell that end a command."""
INCOMPLETE = ("MissingParameter", "BadParameter", "NoArgsIsHelpError")
"""Errors that are none in a sentence, which leaves out arguments and writes placeholders."""
OF_OTHERS = {"--no-deps", "--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--strict"}
"""Options of other programs."""


def shell_blocks(page: str) -> Iterator[str]:
    """Yield the text of each fenced block that names no other language than the shell's."""
    language, lines = None, []
    for line in page.splitlines():
        fence = re.match(r"```(\w*)", line)
        if fence is None:
            lines.append(line)
        elif language is None:
            language, lines = fence[1], []
        else:
            if language in ("", "sh", "bash", "console"):
                yield "\n".join(lines).replace("\\\n", " ")
            language = None


def words_of(line: str) -> list[str] | None:
    """Return the words that follow `eetui` in a line of a shell; None: it is no such line."""
    if not (found := COMMAND.fullmatch(re.sub(r"\s+#\s.*", "", line))):
        return None
    words = [word for word in shlex.split(found[1]) if word != "…"]
    end = next((number for number, word in enumerate(words) if word in ENDS), len(words))
    return words[:end]


def shown_commands(page: Path) -> list[list[str]]:
    """List the words of every command in the blocks of a page."""
    lines = [line for block in shell_blocks(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [words for line in lines if (words := words_of(line.strip())) is not None]


@cache
def recording_program() -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """Return the program with commands that note their name and values and do nothing else, and what they noted."""
    reached: list[tuple[str, dict[str, Any]]] = []

    def only_record(command: Any, name: str) -> None:
        command.callback = lambda *_, **values: reached.append((name, values))
        for parameter in command.params:
            if parameter.name in ("install_completion", "show_completion"):  # done while it is parsed, to the shell
                parameter.callback = None
        for word, inner in getattr(command, "commands", {}).items():
            only_record(inner, f"{name} {word}")

    program = get_command(app)
    only_record(program, "eetui")
    return program, reached


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line by the program's own parser; return the command and its values."""
    program, reached = recording_program()
    reached[:] = [("eetui", {})]  # where an option such as --help ends it
    with redirect_stdout(StringIO()):
        program.main(words, prog_name="eetui", standalone_mode=False)
    return reached[-1]


def check_values(command: str, values: dict[str, Any]) -> None:
    """Check config values, presets and filters of a parsed command, as the command would first of all."""
    assignments = values.get("assign") or []
    preset = chosen_preset(values.get("preset"), values.get("model"))
    assert preset in preset_names()
    if command == "eetui sweep":  # its values may be lists and ranges
        names = {*fields()} | {name.rpartition(".")[2] for name in fields()}
        assert {assignment.partition("=")[0] for assignment in assignments} <= names
    else:
        build([preset_layer(preset), *map(set_layer, assignments)])
    for key in ("words", "runs"):
        parse(word for word in values.get(key) or () if is_filter(word))


def complaints(commands: list[list[str]], *, may_be_incomplete: bool = False) -> Iterator[str]:
    """Yield what is wrong with each command that does not parse."""
    for words in commands:
        try:
            check_values(*parsed(words))
        except Exception as error:
            if not (may_be_incomplete and type(error).__name__ in INCOMPLETE):
                yield f"eetui {shlex.join(words)}: {getattr(error, 'message', error)}"


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETUI_DB", str(tmp_path / "runs.db"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_parses(page: Path) -> None:
    assert not list(complaints(shown_commands(page)))


def test_every_command_in_a_sentence_has_its_options() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES if page.name not in HISTORY]
    spans = [span for page in pages for span in re.findall(r"(?<!`)`(eetui [^`\n]*)`", page)]
    assert len(spans) > 20
    commands = [words for span in spans if (words := words_of(span)) is not None]
    assert not list(complaints(commands, may_be_incomplete=True))


def test_every_option_in_a_sentence_exists() -> None:
    options = set(OF_OTHERS)

    def collect(command: Any) -> None:
        options.update(word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts))
        for inner in getattr(command, "commands", {}).values():
            collect(inner)

    collect(get_command(app))
    for page in PAGES:
        if page.name not in HISTORY:
            named = set(re.findall(r"`(--[a-z][a-z-]*)", page.read_text(encoding="utf-8")))
            assert named <= options, page.name


@pytest.mark.parametrize(
    "words", ["compare --grup-by method", "shw 7", "show", "run --set lrr=1", "run --preset sond", "ls 'pppl<9'"]
)
def test_what_is_wrong_is_found(words: str) -> None:
    assert list(complaints([shlex.split(words)]))


FASTER = {
    "generate": ["--max-tokens", "4"],
    "--speculate": ["--rounds", "0"],
    "speculate": ["--max-tokens", "2", "--rounds", "1"],
}
READING = {"ls", "show", "compare", "quality", "diagnose", "calibrate", "generate", "speculate"}
LISTS = {("sweep", "list"), ("queue", "list")}


@pytest.fixture
def database(tmp_path: Path, text: Path) -> Path:
    """Store the runs that pages name, 7, 8 or `first-loss`, and `base`, of preset `seed`, after six that wait."""
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        writer.create_experiment([NewRun(None, "loss", seed, None, "{}", {}) for seed in range(6)])
    for name, values in {
        "first": {},
        "first-loss": {"seed": 43},
        "base": {"method": "softmax", "preset": "seed"},
    }.items():
        run = train_run(
            path, text, **{"method": "loss", "block_layers": [1, 1, 1], "max_epochs": 1, "exit_epochs": 1, **values}
        )
        with Writer(path) as writer:
            writer.rename(run, name)
            writer.tag(run, ["paper"])
    return path


def test_every_command_shown_that_reads_a_run_works(database: Path) -> None:
    shown = {tuple(words) for page in PAGES for words in shown_commands(page) if words}
    shown = {words for words in shown if words[0] in READING or words[:2] in LISTS}
    assert {words[0] for words in shown} == READING | {"sweep", "queue"}
    failed = []
    for words in sorted(shown):
        faster = [word for known, more in FASTER.items() if known in words for word in more]
        done = CliRunner().invoke(app, [*words, *faster])
        if done.exit_code:
            failed.append(f"{shlex.join(words)}: {done.exception} {done.output}")
    assert not failed, "\n".join(failed)
