"""Record for reproducing a run: versions, code state, host, command line."""

import importlib.metadata
import platform
import socket
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.exits import exit_method
from core.exits._facts import RECORD_KEY
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import find, is_pinned
from core.machine.processes import command_line

PACKAGES = ("eetui", "torch", "tokenizers", "pydantic", "sqlite-utils", "textual", "rich", "typer")


def reproduction_record(config: RunConfig, dataset: Dataset, code: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return all that a run's numbers may depend on beyond the config, as plain values for JSON.

    Args:
        code: what `code_state` returned, where many runs begin at once.
    """
    return {
        "corpus": dataset.corpus_name,
        "fingerprint": dataset.fingerprint,
        "tokenizer": dataset.vocabulary.name,
        "vocab_size": dataset.vocabulary.size,
        "device": config.machine.device,
        "threads": config.machine.threads,
        "dtype": config.machine.dtype,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(*(("transformers",) if config.model.pretrained else ())),
        RECORD_KEY: method_record(config.method),
        **dataset.readers,
        "command": command_line(),
        **(code_state() if code is None else code),
    }


def method_record(reference: str) -> dict[str, Any]:
    """Return the facts that a run's method states, for readers that must not import it (`core.exits._facts`)."""
    method = exit_method(reference)
    own = find(EXIT_METHODS, reference).record if is_pinned(reference) else {"name": reference}
    return {**own, "reads_head": method.reads_head, "claims": method.claims, "learns": method.learns}


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the packages that a run depends on, and of more, as far as they are installed."""
    return {name: version for name in (*PACKAGES, *more) if (version := _version(name))}


@cache  # 2 ms each, for every run of a sweep
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def code_state() -> dict[str, Any]:
    """Return commit and dirty flag of the checkout that this code runs from; None each for an installed package."""
    folder = Path(__file__).parents[2]
    commit = _git(folder, "rev-parse", "HEAD")
    top = _git(folder, "rev-parse", "--show-toplevel")
    if commit is None or top is None or Path(top) != folder:
        return {"git_commit": None, "git_dirty": None}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "core", "eetui")
    return {"git_commit": commit, "git_dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
