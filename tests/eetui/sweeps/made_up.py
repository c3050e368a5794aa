"""A sweep whose runs were not trained."""

import sqlite3
from pathlib import Path

from core.store.sweeps import Cell, create_sweep
from core.store.writer import NewRun, Writer
from core.sweeps.spec import Spec
from tests.scripted_runs import RECORD, config

METHODS, RATIOS = ("loss", "softmax"), (0.3, 0.5, 0.7)


def sweep_of_two_fields(database: Path, name: str) -> Path:
    """Store a sweep of two methods, three hard ratios and two seeds; the last run waits."""
    cells = [
        Cell(
            NewRun(None, method, seed, "quick", config(method, seed).model_dump_json(), RECORD),
            place,
            {"method": method, "exit.hard_ratio": ratio},
            {},
            "origin",
        )
        for seed in (1, 2)
        for place, (method, ratio) in enumerate((method, ratio) for method in METHODS for ratio in RATIOS)
    ]
    spec = Spec({}, {"method": METHODS, "exit.hard_ratio": RATIOS}, 1, 2).as_plain()
    with Writer(database) as writer:
        create_sweep(writer, name, spec, cells)
    with sqlite3.connect(database) as connection:
        (last,) = connection.execute("SELECT max(id) FROM runs").fetchone()
        before = last - len(cells)
        connection.execute(
            "UPDATE runs SET status = 'finished', final_ppl = 100 + id - :before + seed / 8.0, accuracy = 0.2, "
            "flop_savings = (id - :before) / 100.0 WHERE id > :before AND id < :last",
            {"before": before, "last": last},
        )
    connection.close()
    return database
