"""What a run depends on beside its database: versions, device, threads, disk, locale, terminal."""

import locale
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from core.data.cache import cache_dir
from core.machine.cores import read_cores
from core.machine.disks import disk_of
from core.machine.versions import versions
from core.store.checkup import Finding
from core.store.files import real_path

NO_TORCH = "is not installed: runs are read and compared, none is trained (pip install torch)"


def surroundings(db: Path) -> Iterator[Finding]:
    """Yield them, each with whether it is as it should be."""
    yield Finding("versions", ", ".join(f"{name} {number}" for name, number in versions().items()))
    yield Finding(
        "system", f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.platform()}"
    )
    yield from _computing() if has_torch() else [Finding("torch", NO_TORCH, sound=False)]
    for name, folder in (("database", real_path(db).parent), ("cache", cache_dir())):
        disk = disk_of(folder)
        only_read = "" if disk.writable else ", which is read-only"
        text = f"{disk.free / 2**30:,.1f} GiB free for the {name} in {folder}{only_read}"
        yield Finding("disk", text, sound=not disk.scarce and (disk.writable or name != "cache"))
    encoding = sys.stdout.encoding or "none"
    yield Finding("locale", f"{'.'.join(filter(None, locale.getlocale())) or 'C'}, output in {encoding}")
    size = shutil.get_terminal_size()
    where = f"{size.columns} x {size.lines}" if sys.stdout.isatty() else "none at standard output"
    yield Finding(
        "terminal", f"{where}, TERM={os.environ.get('TERM', '')}, COLORTERM={os.environ.get('COLORTERM', '')}"
    )


def has_torch() -> bool:
    """Tell whether torch is installed: without it, runs are read and compared."""
    return find_spec("torch") is not None


def _computing() -> Iterator[Finding]:
    import torch

    from core.protocol.resolve import choose_threads

    devices = [f"cpu ({platform.machine()})"]
    devices += [f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    yield Finding("devices", ", ".join(devices))
    cores, choice = read_cores(), choose_threads()
    quota = f", {cores.quota:.3g} granted by the control group" if cores.quota is not None else ""
    yield Finding("threads", f"{choice.threads} now; {cores.allowed} cores{quota}, {cores.busy:.1f} of them busy")
