"""The command line as a whole: imports at start-up, and errors for bad requests."""

import subprocess
import sys
from pathlib import Path

import pytest

from eetui import __version__
from eetui.cli.groups import _complaining
from eetui.cli.main import COMMANDS
from tests.conftest import Eetui

Done = subprocess.CompletedProcess[str]
LIGHT_COMMANDS = (
    ["--help"], ["--version"], ["ls"], ["show", "1"], ["compare"], ["compare", "report:loss", "1"],
    ["compare", "--group-by", "method"], ["sweep", "list"], ["queue", "list"],
)  # fmt: skip


def test_the_version_is_printed_without_importing_typer(environment: dict[str, str]) -> None:
    code = "import sys; from eetui.__main__ import main\nmain(); assert 'typer' not in sys.modules"
    light, whole = (
        subprocess.run(
            [sys.executable, *command, "--version"],
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )
        for command in (["-c", code], ["-m", "eetui"])
    )
    assert light.returncode == 0, light.stderr
    assert light.stdout == whole.stdout == f"eetui {__version__}\n"


def test_errors_that_are_no_complaint_about_the_command_line_pass_as_they_are() -> None:
    class Odd(Exception):
        message = property(lambda self: "of another library")

    with pytest.raises(Odd), _complaining():
        raise Odd


@pytest.mark.parametrize("command", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_neither_torch_nor_textual(command: list[str], trained: Done, environment: dict) -> None:
    code = (
        "import sys; from eetui.__main__ import main; code = 0\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'textual', 'numpy', 'pandas', 'sqlite_utils', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy and not code, (heavy, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_command_imports_no_other_one(environment: dict[str, str]) -> None:
    code = (
        "import sys; from eetui.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*[name for name in sys.modules if name.startswith('eetui.cli.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ls", "--help"],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {name.rpartition(".")[2] for name in done.stdout.splitlines()[-1].split()}
    assert "runs" in loaded, done.stderr
    assert not loaded & {place.partition(":")[0] for place in COMMANDS.values() if place != COMMANDS["ls"]} - {"runs"}


BAD_REQUESTS = {
    "unknown key": (["run", "--no-ui", "--set", "train.lrr=1"], "did you mean train.lr?"),
    "negative rate": (
        ["run", "--no-ui", "--set", "train.lr=-1"],
        "train.lr must be > 0, got -1 (from --set train.lr=-1)",
    ),
    "hard ratio 0": (["run", "--no-ui", "--set", "hard_ratio=0"], "exit.hard_ratio must be > 0"),
    "hard ratio 1": (["run", "--no-ui", "--set", "hard_ratio=1"], "exit.hard_ratio must be < 1"),
    "unknown method": (
        ["run", "--no-ui", "--method", "los"],
        "method must be one of agree, correct, ",
    ),
    "unknown preset": (["run", "--no-ui", "--preset", "sed"], "--preset must be one of"),
    "missing corpus": (["run", "--no-ui", "--corpus", "nowhere.txt"], "does not exist"),
    "unknown dataset": (["run", "--no-ui", "--corpus", "hub:no/such"], "hub:no/such"),
    "escape in the name": (["run", "--no-ui", "--name", "\x1b[31mred"], "--name must be 1 to 200 printable"),
    "JSON of nothing": (["run", "--no-ui", "--json"], "--json prints the profile, and there is none without --profile"),
    "profile of a resumed run": (["resume", "--profile", "1"], "No such option: --profile"),
    "number as name": (["run", "--no-ui", "--name", "7"], "--name must not be a number"),
    "unknown run": (["show", "nobody"], "there is no run 'nobody'"),
    "ambiguous prefix": (["show", "distill"], "could be distill-1, distill-4"),
    "unknown report": (["compare", "report:x"], "report:distill"),
    "unknown format": (["compare", "--format", "xml"], "--format must be one of"),
    "unknown sort": (["ls", "--sort", "colour"], "can't sort by 'colour'"),
    "bad filter": (["ls", "ppl<much"], "must be a number"),
    "rm without a terminal": (["rm", "1"], "confirm with --yes"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_gets_one_clear_error_and_exit_code_2(
    arguments: list[str], message: str, trained: Done, eetui: Eetui
) -> None:
    before = eetui("ls", "--json").stdout
    done = eetui(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert eetui("ls", "--json").stdout == before
