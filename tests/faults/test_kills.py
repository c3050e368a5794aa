"""Kills at random moments, inside transactions and checkpoint writes: all is sound, and nothing stored is lost.

A few here; hundreds by `make soak`.
"""

import os
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from core.protocol import weights_file
from core.protocol.weights_file import Label
from core.store.reader import Reader
from tests.faults.training import ROOT, soak, wait_until
from tests.forked import Forked

WRITES = """
import sys
from pathlib import Path
import torch
from core.events import StageEnded, StageStarted, Step
from core.protocol import weights_file
from core.protocol.weights_file import Label
from core.state import RunState
from core.store.new_runs import NewRun
from core.store.writer import Writer

folder = Path(sys.argv[1])
label = Label("origin", "run", "block0.lm")
with Writer(folder / "runs.db") as writer:
    (run,) = writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
    step = 0
    while True:
        steps = [Step("block0.lm", 1, step + number, 4.0, 10, 0.1) for number in range(1, 6)]
        writer.append(run, steps, RunState(status="running"))
        step += 5
        print(run, step, flush=True)
        events = [StageStarted("block0.lm", "lm", 0, 1, 1, 1), StageEnded("block0.lm", float(step))]
        weights_file.write(folder / "block0.lm.safetensors", label, events, {"w": torch.full((50_000,), float(step))})
"""
"""A process that stores steps and writes weights without end, and says which of its runs has how many."""


@pytest.mark.parametrize("seed", range(soak(1)))
def test_what_was_said_to_be_stored_is_there_after_a_kill_and_all_is_sound(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    said: dict[int, int] = {}
    for _ in range(2):
        with closing(Forked(["-c", WRITES, str(tmp_path)], os.environ, ROOT)) as process:
            wait_until(lambda process=process: "\n" in process.outputs()[0])  # type: ignore[misc]
            time.sleep(draw.random() * 0.3)
            process.kill()
            lines = process.communicate()[0].splitlines()
        run, steps = (int(word) for word in lines[-1].split())
        said[run] = steps
    database = tmp_path / "runs.db"
    with Reader(database) as reader:
        for run, steps in said.items():
            stored = [event.step for event in reader.events(run)[0] if hasattr(event, "step")]
            assert stored == list(range(1, len(stored) + 1))
            assert steps <= len(stored) <= steps + 5
        assert {row["status"] for row in reader.runs()} == {"interrupted"}
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = weights_file.read(tmp_path / "block0.lm.safetensors", Label("origin", "run", "block0.lm"))
    assert kept is not None
    assert len(set(kept[1]["w"].tolist())) == 1
