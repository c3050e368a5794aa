"""Signals and closed terminals: the step is finished, the checkpoint written, the run interrupted and resumable."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from core.store.files import checkpoint_folder
from tests.conftest import Eetui
from tests.faults.training import ENDLESS, ROOT, ended, epochs, forked, listed, training, wait_until
from tests.forked import ignore_hang_ups, take_terminal

LEARNS_BPE = """
from core.data import tokenizers
from eetui.cli.main import main

def said(text, pieces=tokenizers._short_pieces):
    yield from pieces(text)
    print("read", flush=True)

tokenizers._short_pieces = said
main()
"""
"""The command line, which says when the bpe tokenizer has read its text and begins to merge."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def assert_interrupted_with_a_checkpoint(db: Path) -> None:
    row, waiting = listed(db)
    assert (row["status"], row["error"]) == ("interrupted", "stopped by the user")
    assert waiting["status"] == "interrupted"
    assert [path.name for path in checkpoint_folder(db, 1).iterdir()] == ["block0.lm.partial.safetensors"]


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_ends_training_after_its_step_with_a_checkpoint(
    number: signal.Signals, text: Path, environment: dict[str, str], db: Path
) -> None:
    with forked(training(text, *ENDLESS, methods=("loss", "softmax")), environment, db) as process:
        wait_until(lambda: epochs(db) > 1)
        process.send_signal(number)
        code, errors = ended(process)
    assert code == CODES[number], errors
    assert "finishing the step" in errors
    assert "to go on: eetui resume 1 2" in errors
    assert_interrupted_with_a_checkpoint(db)


def test_a_hang_up_that_comes_twice_is_one(text: Path, environment: dict[str, str], db: Path) -> None:
    with forked(training(text, *ENDLESS, methods=("loss", "softmax")), environment, db) as process:
        wait_until(lambda: epochs(db) > 1)
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
        assert ended(process)[0] == 129
    assert_interrupted_with_a_checkpoint(db)


def test_a_terminal_that_is_closed_ends_training_with_a_checkpoint(
    text: Path, environment: dict[str, str], db: Path
) -> None:
    ours, theirs = os.openpty()
    arguments = training(text, *ENDLESS, methods=("loss", "softmax"))
    with forked(arguments, environment, db, terminal=theirs, before=take_terminal) as process:
        os.close(theirs)
        os.set_blocking(ours, False)

        def shown_on() -> bool:
            try:
                os.read(ours, 1_000_000)
            except BlockingIOError:
                pass
            return epochs(db) > 1

        wait_until(shown_on)
        os.close(ours)
        assert ended(process)[0] == 129
    assert_interrupted_with_a_checkpoint(db)


def test_under_nohup_a_hang_up_is_no_reason_to_stop(text: Path, environment: dict[str, str], db: Path) -> None:
    with forked(training(text, *ENDLESS), environment, db, before=ignore_hang_ups) as process:
        wait_until(lambda: epochs(db) > 1)
        process.send_signal(signal.SIGHUP)
        seen = epochs(db)
        wait_until(lambda: epochs(db) > seen + 2)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143


def test_who_leaves_at_once_is_seen_to_be_gone_by_every_reader(
    text: Path, environment: dict[str, str], db: Path, eetui: Eetui
) -> None:
    with forked(training(text, *ENDLESS), environment, db) as process:
        wait_until(lambda: epochs(db) > 0)
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)  # the second asks again before the step is over
        assert ended(process)[0] == 143
    for arguments in (("ls",), ("show", "1")):
        shown = eetui(*arguments, EETUI_DB=str(db)).stdout
        assert "■ interrupted" in shown
        assert "its process is gone" in shown
    connection = sqlite3.connect(db)
    assert connection.execute("SELECT status FROM runs").fetchone() == ("running",)
    connection.close()


def test_ctrl_c_ends_the_merges_of_bpe_which_would_take_a_minute(
    tmp_path: Path, environment: dict[str, str], db: Path
) -> None:
    letters = random.Random(1).randbytes(4_000_000).hex()
    corpus = tmp_path / "words.txt"
    corpus.write_text("\n".join(letters[start : start + 50] for start in range(0, len(letters), 50)))
    options = ["--no-ui", "--preset", "quick", "--set", "tokenizer=bpe", "--set", "vocab_size=60000", "--db", str(db)]
    command = [sys.executable, "-c", LEARNS_BPE, "run", "--corpus", str(corpus), *options]
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # the tests may run in the background of a shell
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "read\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(15) == CODES[signal.SIGINT]
        finally:
            process.kill()
