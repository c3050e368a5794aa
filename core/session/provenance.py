"""Record for reproducing a run: versions, code state, host, command line."""

import platform
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.exits import exit_method
from core.exits._facts import RECORD_KEY
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import find, is_pinned
from core.machine.processes import command_line
from core.machine.versions import versions


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
