"""Checkup of a database and of the weights beside it; nothing is written."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.backbones.state_cache import MOST_BYTES, abandoned, caches_folder, kept_caches
from core.config.run_config import rebuilt
from core.errors import EetuiError
from core.machine.file_system import file_system
from core.protocol.checkpoint import Checkpoint
from core.protocol.order import planned_stages
from core.protocol.weights_file import PARTIAL
from core.store import codec
from core.store.files import beside, checkpoint_folder, log_file, real_path, stages_folder
from core.store.identity import damage, require_ours, untouched
from core.store.opening import version


@dataclass(frozen=True)
class Finding:
    """A line of a checkup; `sound` is False for what needs to be looked after."""

    subject: str
    text: str
    sound: bool = True


def check_database(path: Path) -> Iterator[Finding]:
    """Yield how the file is, its log, its tables and the entries of its runs."""
    file = real_path(path)
    if not file.exists():
        yield Finding("database", f"{path} is not there yet")
        return
    log = log_file(file)
    size, waiting = file.stat().st_size, log.stat().st_size if log.exists() else 0
    yield Finding(
        "database", f"{path}, {_mib(size)}, {_mib(waiting)} of log, on {file_system(file) or 'a file system'}"
    )
    try:
        require_ours(file, path)
        with closing(untouched(file)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            yield Finding("schema", f"version {version(connection, path)}, journal mode {mode}")
            yield from _check_pages(connection, path)
            yield from _check_rows(connection)
    except EetuiError as error:
        yield Finding("database", str(error), sound=False)
    except sqlite3.Error as error:
        yield Finding("database", damage(path, str(error)), sound=False)


def check_checkpoints(path: Path) -> Iterator[Finding]:
    """Yield whether each run's weights are what was written, by their digests."""
    file = real_path(path)
    if not file.exists():
        return
    folders = beside(file, 0).parent
    present = {entry.name for entry in folders.iterdir() if entry.is_dir()} if folders.is_dir() else set[str]()
    total = sum(one.stat().st_size for one in folders.rglob("*") if one.is_file()) if present else 0
    yield Finding("checkpoints", f"{len(present)} runs, {_mib(total)}")
    try:
        with closing(untouched(file)) as connection:
            rows = connection.execute("SELECT id, config, record, created FROM runs ORDER BY id").fetchall()
    except sqlite3.Error:
        return  # said of the database
    for run, config, record, created in rows:
        present.discard(str(run))
        if checkpoint_folder(path, run).is_dir():
            yield from _check_weights(path, run, config, record, created)
    for name in sorted(present):
        yield Finding("checkpoints", f"{folders / name} is of no run", sound=False)


def check_states() -> Iterator[Finding]:
    """Yield what the cached states of pretrained models take, and what killed runs have half written."""
    kept, partial = kept_caches(), abandoned()
    texts = f"{len(kept)} {'text' if len(kept) == 1 else 'texts'}"
    size = _mib(sum(size for _, size in kept))
    most = f"{MOST_BYTES / 10**9:.0f} GB"
    yield Finding("states", f"{texts} of pretrained models, {size} of at most {most}, in {caches_folder()}")
    if partial:
        yield Finding(
            "states",
            f"{len(partial)} half written by runs that were killed, {_mib(sum(size for _, size in partial))}; the next "
            f"run on a pretrained model deletes them",
            sound=False,
        )


def check_stages(path: Path) -> Iterator[Finding]:
    """Yield how much the stages take that sweeps share, and which are of no sweep."""
    folder = stages_folder(path)
    if not folder.is_dir():
        return
    kept = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    total = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    yield Finding("stages", f"{len(kept)} shared by sweeps, {_mib(total)}; eetui sweep delete makes room")
    try:
        with closing(untouched(real_path(path))) as connection:
            rows = connection.execute("SELECT stages FROM sweep_cells").fetchall()
        wanted = {key for (text,) in rows for key in json.loads(text).values()}
    except (sqlite3.Error, ValueError):
        return  # said of the database
    for name in sorted(kept - wanted):
        yield Finding("stages", f"{folder / name} is of no sweep", sound=False)


def _check_pages(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if problems != ["ok"]:
        yield Finding("pages", damage(path, "; ".join(" ".join(problem.split()) for problem in problems)), sound=False)
        return
    orphans = len(connection.execute("PRAGMA foreign_key_check").fetchall())
    yield Finding("pages", "sound" if not orphans else f"{orphans} rows are of no run", sound=not orphans)


def _check_rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield how many runs there are, and what can't be read of each."""
    runs = connection.execute("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status").fetchall()
    yield Finding("runs", ", ".join(f"{count} {status}" for status, count in runs) or "none")
    for run, config, record in connection.execute("SELECT id, config, record FROM runs ORDER BY id"):
        bad = [name for name, text in (("config", config), ("record", record)) if not _is_mapping(text)]
        entries = connection.execute("SELECT seq, type, data FROM events WHERE run_id = ? ORDER BY seq", [run])
        bad += [f"entry {seq} ({kind})" for seq, kind, data in entries if not _is_entry(kind, data)]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            yield Finding("runs", f"run {run}: {', '.join(bad[:5])}{more} can't be read", sound=False)


def _check_weights(path: Path, run: int, config: str, record: str, created: float) -> Iterator[Finding]:
    try:
        built = rebuilt(json.loads(config), f"run {run}")
        fingerprint = str(json.loads(record)["fingerprint"])
    except (EetuiError, ValueError, TypeError, KeyError):
        yield Finding(
            "checkpoints", f"run {run}: without its config or its record its weights can't be used", sound=False
        )
        return
    checkpoint = Checkpoint.of_run(path, run, built, fingerprint, created)
    for stage in planned_stages(built):
        if stage.trains:
            checkpoint.recall(stage.name)
            checkpoint.progress(stage.name)
    for name, reason in checkpoint.unusable.items():
        what = f"{name.removesuffix(PARTIAL)}, in progress" if name.endswith(PARTIAL) else name
        yield Finding("checkpoints", f"run {run}: {what}: {reason}; eetui resume trains it again", sound=False)


def _is_mapping(text: object) -> bool:
    try:
        return isinstance(json.loads(text), dict)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return False


def _is_entry(kind: str, data: str) -> bool:
    try:
        codec.checked((kind, data))
    except codec.UnreadableError:
        return False
    return True


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
