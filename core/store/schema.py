"""The tables, as ordered migrations.

`PRAGMA user_version` holds the number of migrations applied, so that a reader can tell at once whether there is
anything to do (`core.store.opening`); sqlite-utils, which applies them, is imported only then.
"""

from typing import TYPE_CHECKING

from core.store.views import VIEWS

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

TOKEN_COLUMNS = ("cross_entropy", "signal", "max_prob", "prediction")
"""Columns of `token_statistics` that hold an array, and fields of `TokensMeasured`."""
WINDOW_COLUMNS = ("window_losses", "window_accuracies", "window_savings", "window_flop_savings")
"""Columns of `results` that hold a float32 array of one figure a window, and fields of `Measured`."""

SWEEP_TABLES = {
    "sweeps": """
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        created REAL NOT NULL""",
    "sweep_cells": """
        run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        sweep_id INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
        point INTEGER NOT NULL,
        setting TEXT NOT NULL,
        origin TEXT NOT NULL,
        stages TEXT NOT NULL""",
    "queue": """
        run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        sweep_id INTEGER REFERENCES sweeps (id) ON DELETE CASCADE,
        place REAL NOT NULL,
        origin TEXT NOT NULL,
        deaths INTEGER NOT NULL DEFAULT 0""",
}
"""Columns of the tables that `sweeps` creates."""


def runs(db: "Database") -> None:
    """Create `runs`, one row a run: identity, status, and the figures that lists sort and filter by."""
    db.execute("""
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            experiment INTEGER NOT NULL,
            name TEXT NOT NULL UNIQUE,
            method TEXT NOT NULL,
            seed INTEGER NOT NULL,
            preset TEXT,
            status TEXT NOT NULL,
            config TEXT NOT NULL,
            record TEXT NOT NULL,
            created REAL NOT NULL,
            started REAL,
            ended REAL,
            pid INTEGER,
            host TEXT,
            heartbeat REAL,
            error TEXT,
            block0_val_ppl REAL,
            final_ppl REAL,
            accuracy REAL,
            shallow_ratio REAL,
            layer_savings REAL,
            seconds REAL
        )""")
    db.execute("CREATE INDEX runs_by_experiment ON runs (experiment)")
    db.execute("CREATE INDEX runs_by_status ON runs (status)")


def events(db: "Database") -> None:
    """Create `events`, the log of each run; consecutive steps share a row."""
    db.execute("""
        CREATE TABLE events (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            time REAL NOT NULL,
            type TEXT NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) WITHOUT ROWID""")


def results(db: "Database") -> None:
    """Create `results`, measurements with split and token set; `window_losses`: float32, nats, one a window."""
    db.execute("""
        CREATE TABLE results (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            stage TEXT NOT NULL,
            name TEXT NOT NULL,
            split TEXT NOT NULL,
            token_set TEXT NOT NULL,
            tokens INTEGER NOT NULL,
            loss REAL NOT NULL,
            accuracy REAL NOT NULL,
            shallow_ratio REAL NOT NULL,
            layer_savings REAL NOT NULL,
            window_losses BLOB,
            PRIMARY KEY (run_id, stage, name)
        )""")


def tags_and_notes(db: "Database") -> None:
    """Create `tags` and `notes`."""
    db.execute("""
        CREATE TABLE tags (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            tag TEXT NOT NULL,
            PRIMARY KEY (run_id, tag)
        ) WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE notes (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            time REAL NOT NULL,
            text TEXT NOT NULL
        )""")
    db.execute("CREATE INDEX notes_by_run ON notes (run_id)")


def tokens(db: "Database") -> None:
    """Create the tables of token statistics, and of the texts they are of, each shared by all runs on it.

    All blobs are compressed by zlib: float32 and int32 arrays of this machine, and `vocabulary`, a JSON list.
    """
    db.execute("""
        CREATE TABLE token_statistics (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            block INTEGER NOT NULL,
            cross_entropy BLOB NOT NULL,
            signal BLOB NOT NULL,
            max_prob BLOB NOT NULL,
            prediction BLOB NOT NULL,
            PRIMARY KEY (run_id, block)
        )""")
    db.execute("""
        CREATE TABLE texts (
            fingerprint TEXT PRIMARY KEY,
            seq_len INTEGER NOT NULL,
            vocabulary BLOB NOT NULL,
            stream BLOB NOT NULL
        )""")


def savings(db: "Database") -> None:
    """FLOP and time savings, so that lists sort and filter by them; those of older runs are in their logs."""
    for column, figure in (("flop_savings", "flops"), ("time_savings", "time")):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} REAL")
        db.execute(f"""
            UPDATE runs SET {column} = (
                SELECT json_extract(data, '$.{figure}') FROM events
                WHERE run_id = runs.id AND type = 'Savings' ORDER BY seq DESC LIMIT 1
            ) WHERE final_ppl IS NOT NULL""")


def processes(db: "Database") -> None:
    """Add the identity of the process that holds a run (`core.store.liveness`); NULL in older rows."""
    db.execute("ALTER TABLE runs ADD COLUMN process TEXT")


def deleted_runs(db: "Database") -> None:
    """Create the bin (`core.store.bin`): the deleted runs, their names, and when they were deleted."""
    db.execute("""
        CREATE TABLE bin (
            run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            deleted REAL NOT NULL
        )""")


def windows(db: "Database") -> None:
    """Keep what is of a run's windows with the run: texts hold tokens alone, results two more figures of each window.

    `window_accuracies`, `window_savings`, `window_flop_savings`: float32, as in `core.events.Measured`. `bits_per_byte`
    of early exit; older runs do not know it.
    """
    db.execute("""
        CREATE TABLE tokens_alone (
            fingerprint TEXT PRIMARY KEY,
            vocabulary BLOB NOT NULL,
            stream BLOB NOT NULL
        )""")
    db.execute("INSERT INTO tokens_alone SELECT fingerprint, vocabulary, stream FROM texts")
    db.execute("DROP TABLE texts")
    db.execute("ALTER TABLE tokens_alone RENAME TO texts")
    for column in ("window_accuracies", "window_savings", "window_flop_savings"):
        db.execute(f"ALTER TABLE results ADD COLUMN {column} BLOB")
    db.execute("ALTER TABLE runs ADD COLUMN bits_per_byte REAL")


def sweeps(db: "Database") -> None:
    """Create `sweeps`, their runs, and the queue of runs that wait for a worker (`core.store.queue`).

    `spec` and `setting` are JSON: what the sweep varies, and the values of one run. `point` numbers the combinations of
    values, each of which may have a run for each seed. `stages`: keys of the shared stages by name, as JSON; `origin`:
    key of the first one. In the queue, a run of a sweep is for that sweep's workers, any other for all; `deaths` counts
    the workers that died on it.
    """
    for name, columns in SWEEP_TABLES.items():
        db.execute(f"CREATE TABLE {name} ({columns})")
    db.execute("CREATE INDEX cells_by_sweep ON sweep_cells (sweep_id, point)")
    db.execute("CREATE INDEX queue_by_sweep ON queue (sweep_id, place)")


def views(db: "Database") -> None:
    """Create the ready views (`core.store.views`); a migration that changes what they read makes them anew."""
    for name, query in VIEWS.items():
        db.execute(f"DROP VIEW IF EXISTS {name}")
        db.execute(f"CREATE VIEW {name} AS {query}")


def views_for_duckdb(db: "Database") -> None:
    """Create the views anew: those of version 11 kept DuckDB from listing the tables of an attached database."""
    views(db)


MIGRATIONS = (
    runs, events, results, tags_and_notes, tokens, savings, processes, deleted_runs, windows, sweeps, views,
    views_for_duckdb,
)  # fmt: skip
LATEST_VERSION = len(MIGRATIONS)
READABLE_VERSION = MIGRATIONS.index(sweeps)
"""Oldest version that is read as it stands: all that later ones have more is views, and tables that are empty there."""
SWEEPS_VERSION = MIGRATIONS.index(sweeps) + 1
"""Version from which databases have `SWEEP_TABLES`."""


def migrations() -> "Migrations":
    """Return the migration set for sqlite-utils."""
    from sqlite_utils import Migrations  # 40 ms, and 300 ms where pandas is installed

    ordered = Migrations("eetui")
    for migration in MIGRATIONS:
        ordered()(migration)
    return ordered
