"""Checkup of weights and cached states; nothing is written."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from core.backbones.state_cache import MOST_BYTES, abandoned, caches_folder, kept_caches
from core.config.run_config import rebuilt
from core.errors import EetuiError
from core.protocol.checkpoint import Checkpoint
from core.protocol.order import planned_stages
from core.protocol.weights_file import PARTIAL
from core.store.checkup import Finding, mib
from core.store.files import beside, checkpoint_folder, real_path, stages_folder
from core.store.identity import untouched


def check_checkpoints(path: Path) -> Iterator[Finding]:
    """Yield whether each run's weights are what was written, by their digests."""
    file = real_path(path)
    if not file.exists():
        return
    folders = beside(file, 0).parent
    present = {entry.name for entry in folders.iterdir() if entry.is_dir()} if folders.is_dir() else set[str]()
    total = sum(one.stat().st_size for one in folders.rglob("*") if one.is_file()) if present else 0
    yield Finding("checkpoints", f"{len(present)} runs, {mib(total)}")
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
    size = mib(sum(size for _, size in kept))
    most = f"{MOST_BYTES / 10**9:.0f} GB"
    yield Finding("states", f"{texts} of pretrained models, {size} of at most {most}, in {caches_folder()}")
    if partial:
        yield Finding(
            "states",
            f"{len(partial)} half written by runs that were killed, {mib(sum(size for _, size in partial))}; the next "
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
    yield Finding("stages", f"{len(kept)} shared by sweeps, {mib(total)}; eetui sweep delete makes room")
    try:
        with closing(untouched(real_path(path))) as connection:
            rows = connection.execute("SELECT stages FROM sweep_cells").fetchall()
        wanted = {key for (text,) in rows for key in json.loads(text).values()}
    except (sqlite3.Error, ValueError):
        return  # said of the database
    for name in sorted(kept - wanted):
        yield Finding("stages", f"{folder / name} is of no sweep", sound=False)


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
