"""The installed command in a real terminal: launch, watch, compare, quit, and a terminal as it was before."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.store.reader import Reader
from tests.conftest import TINY, set_options

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
ROOT = Path(__file__).parents[3]
LONG = ("max_epochs=100000", "patience=100000", "machine.threads=1")
SHORT = ("max_epochs=2", "exit_epochs=2", "machine.threads=1")


class Terminal:
    """A shell in a tmux server of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.socket = f"eetui-{uuid.uuid4().hex[:12]}"
        shell = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), "sh"]
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", "80", "-y", "24", "-c", str(folder), *shell)

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self.socket, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait_for(self, *texts: str, seconds: float = 60.0) -> str:
        give_up = time.monotonic() + seconds
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < give_up, f"waited for {texts}, but the screen says\n{screen}"
            time.sleep(0.1)
        return screen

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    own = {
        "EETUI_DB": "runs.db",
        "EETUI_CACHE": str(folder / "cache"),
        "EETUI_CONFIG": str(folder / "none.toml"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PS1": "$ ",
        "TERM": "tmux-256color",
    }
    terminal = Terminal(folder, own)
    yield terminal
    terminal.close()


@pytest.fixture
def eetui(terminal: Terminal, text: Path) -> Callable[..., None]:
    """Type an eetui command that trains on the test's text; print the state of the terminal before and after."""

    def start(*arguments: str, training: tuple[str, ...] = SHORT) -> None:
        trains = [f"--corpus={text}", *set_options(*TINY, *training)] if arguments else []
        command = " ".join([sys.executable, "-m", "eetui", *arguments, *trains])
        terminal.type(f"stty -a > before; {command}; echo code=$?; stty -a > after", "Enter")

    return start


def pid(folder: Path) -> int:
    with Reader(folder / "runs.db") as reader:
        return int(reader.run(1)["pid"])


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def statuses(folder: Path) -> list[str]:
    with Reader(folder / "runs.db") as reader:
        return [row["status"] for row in reader.runs()]


def wait_for_an_epoch(folder: Path) -> None:
    """Wait until there is something to write a checkpoint of."""
    give_up = time.monotonic() + 60
    while True:
        with Reader(folder / "runs.db") as reader:
            if any(stage.history for stage in reader.state(1).stages):
                return
        assert time.monotonic() < give_up
        time.sleep(0.1)


def require_a_clean_terminal(terminal: Terminal, folder: Path) -> None:
    """Check for the line discipline of before, the normal screen with what was typed on it, and a shell that echoes."""
    terminal.type("echo still-'here'", "Enter")
    screen = terminal.wait_for("still-here")
    assert "-m eetui" in screen
    assert (folder / "before").read_text() == (folder / "after").read_text()
    flags = terminal.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")
    assert flags.split() == ["0", "1", "0"], "alternate screen, cursor, mouse reports"


def test_launch_watch_compare_and_quit(terminal: Terminal, folder: Path, eetui: Callable[..., None]) -> None:
    eetui("run", "-m", "loss", "-m", "softmax")
    terminal.wait_for("loss-1")
    give_up = time.monotonic() + 90
    while not (folder / "runs.db").exists() or statuses(folder) != ["finished", "finished"]:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    terminal.type("Escape")
    terminal.wait_for("eetui · runs", "finished")
    terminal.type("Space", "Space", "c")
    screen = terminal.wait_for("Compare", "Final PPL")
    assert "softmax-2" in screen
    terminal.type("q")
    terminal.wait_for("code=0")

    require_a_clean_terminal(terminal, folder)


@pytest.mark.soak
def test_quitting_while_training_asks_and_marks_the_run_interrupted(
    terminal: Terminal, folder: Path, eetui: Callable[..., None]
) -> None:
    eetui("run", "-m", "loss", training=LONG)
    terminal.wait_for("loss-1", "block0.lm")
    wait_for_an_epoch(folder)
    terminal.type("q")
    terminal.wait_for("Stop and quit", "Stay")
    terminal.type("Left", "Enter")
    terminal.wait_for("code=0")

    assert statuses(folder) == ["interrupted"]
    assert list(folder.glob("runs.db.checkpoints/1/*.safetensors"))
    require_a_clean_terminal(terminal, folder)


@pytest.mark.soak
def test_a_signal_to_end_stops_after_the_step_and_leaves_the_terminal_clean(
    terminal: Terminal, folder: Path, eetui: Callable[..., None]
) -> None:
    eetui("run", "-m", "loss", training=LONG)
    terminal.wait_for("loss-1", "block0.lm")
    os.kill(pid(folder), signal.SIGTERM)
    terminal.wait_for("code=143")

    assert statuses(folder) == ["interrupted"]
    require_a_clean_terminal(terminal, folder)


@pytest.mark.soak
def test_a_terminal_that_goes_away_leaves_the_run_interrupted_with_its_checkpoint(
    terminal: Terminal, folder: Path, eetui: Callable[..., None]
) -> None:
    eetui("run", "-m", "loss", training=LONG)
    terminal.wait_for("loss-1", "block0.lm")
    wait_for_an_epoch(folder)
    process = pid(folder)
    terminal.close()
    give_up = time.monotonic() + 30
    while is_running(process):
        assert time.monotonic() < give_up, "it does not end"
        time.sleep(0.1)

    with Reader(folder / "runs.db") as reader:
        assert reader.run(1)["status"] == "interrupted"
        assert reader.run(1)["error"] == "stopped by the user", "it must end by itself, not be found dead"
    assert list(folder.glob("runs.db.checkpoints/1/*.safetensors"))
