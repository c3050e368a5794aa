"""Output of other code below Python must not reach the screen and must not be lost."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eetui.console.terminal import _Terminal

SCRIPT = """
import os, subprocess, sys
from eetui.console.terminal import stray_output_kept

with stray_output_kept() as stray:
    sys.__stdout__.write("on the screen\\n")
    sys.__stdout__.flush()
    os.write(1, b"from native code\\n")
    subprocess.run(["sh", "-c", "echo from a subprocess >&2"])
    sys.__stderr__.write("seen: " + repr(stray.text()) + "\\n")
    sys.__stderr__.flush()
print("afterwards")
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[3]
    return subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)


def test_stray_output_is_kept_from_the_terminal_and_told_at_the_end() -> None:
    done = run(SCRIPT)

    assert done.stdout == "on the screen\nafterwards\n"
    assert done.stderr.splitlines() == [
        r"seen: 'from native code\nfrom a subprocess\n'",
        "from native code",
        "from a subprocess",
    ]


def test_the_descriptors_are_given_back_when_the_console_breaks() -> None:
    done = run(SCRIPT.replace('os.write(1, b"from native code\\n")', "raise RuntimeError('broken')"))

    assert done.returncode == 1
    assert "RuntimeError: broken" in done.stderr


def test_a_terminal_that_has_gone_away_does_not_break_who_writes_to_it() -> None:
    read, write = os.pipe()
    gone = _Terminal(io.FileIO(write, "w", closefd=False), "utf-8")
    os.close(read)

    assert gone.write("anybody there?") == 14
    gone.flush()

    with pytest.raises(BrokenPipeError):
        os.write(write, b"the pipe is broken indeed")
    gone.close()
    os.close(write)
