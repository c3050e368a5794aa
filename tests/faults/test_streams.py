"""Whoever listens may go away: training goes on, and output that nobody reads on ends quietly."""

import subprocess
from pathlib import Path

import pytest

from core.store.writer import Writer
from tests.conftest import TINY, TINY_TRAINING, set_options
from tests.faults.training import ROOT, command, listed, soak, training
from tests.scripted_runs import add, scripted

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def shell(line: str, environment: dict[str, str], db: Path) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$eetui` is the command."""
    own = {"EETUI_DB": str(db), "PYTHONPATH": str(ROOT), "eetui": " ".join(command())}
    return subprocess.run(
        ["bash", "-c", line], env=environment | own, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def full_list(db: Path) -> Path:
    """A database whose list is longer than what a pipe holds."""
    with Writer(db) as writer:
        for number in range(300):
            add(writer, [], name=f"{number} {'x' * 190}")
        add(writer, list(scripted()), name="finished")
    return db


WHERE = ["2> >(head -1 >/dev/null)", ">&- 2>&-", "2>/dev/full >/dev/full", "2>/dev/full", "2>&-", "2> >(exit 0)"]


@pytest.mark.parametrize("where", WHERE[: soak(3)])
@needs_full
def test_training_goes_on_though_nobody_hears_of_it(
    where: str, text: Path, environment: dict[str, str], db: Path
) -> None:
    arguments = " ".join(training(text, *TINY_TRAINING, methods=("loss", "softmax")))
    done = shell(f"{arguments} {where}", environment, db)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in listed(db)] == ["finished", "finished"]


def test_a_profile_that_nobody_reads_changes_no_exit_code(text: Path, environment: dict[str, str], db: Path) -> None:
    options = " ".join(set_options(*TINY, *TINY_TRAINING, "lr=1e30"))
    line = f"$eetui run --no-ui -m loss --corpus {text} --profile --json {options} > >(exit 0); echo $?"
    assert shell(line, environment, db).stdout == "1\n"


COMMANDS = ["ls", "ls --json", "show finished", "show finished --json", "compare finished --json", "--help"]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_output_that_nobody_reads_on_ends_quietly(arguments: str, environment: dict[str, str], full_list: Path) -> None:
    for reader in ("head -1", "exit 0", "head -c 1"):
        done = shell(f"$eetui {arguments} | {reader} >/dev/null; echo ${{PIPESTATUS[0]}}", environment, full_list)
        assert (done.stdout, done.stderr) == ("0\n", "")


@needs_full
@pytest.mark.parametrize("arguments", [*COMMANDS, "--version"])
def test_output_that_can_not_be_written_is_one_message(
    arguments: str, environment: dict[str, str], full_list: Path
) -> None:
    done = shell(f"$eetui {arguments} >/dev/full", environment, full_list)
    assert (done.returncode, done.stderr) == (1, "eetui: the output can't be written: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", ["ls", "show finished --json", "--version"])
def test_closed_streams_are_no_matter(
    arguments: str, closed: str, environment: dict[str, str], full_list: Path
) -> None:
    done = shell(f"$eetui {arguments} {closed}; echo $? >&1", environment, full_list)
    assert done.stdout.splitlines()[-1:] == ["0"]
    assert done.stderr == ""


def test_a_message_does_not_go_to_standard_output_where_standard_error_is_closed(
    environment: dict[str, str], full_list: Path
) -> None:
    done = shell("$eetui show nobody 2>&-", environment, full_list)
    assert (done.returncode, done.stdout) == (2, "")
