"""Store imported tokens as a finished run."""

import hashlib
import platform
import socket
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.analysis.given_costs import given_costs
from core.config.run_config import RunConfig
from core.errors import UsageError
from core.events import Event, RunFinished
from core.exits._facts import RECORD_KEY
from core.importing.events import Parts, Windows, imported_events
from core.importing.files import read_arrays
from core.importing.settings import Aim, import_config, known_config, split
from core.importing.tokens import ImportedTokens, imported_tokens
from core.machine.processes import command_line, peak_memory
from core.machine.versions import versions
from core.pricing.thresholds import Integers
from core.session.names import require_name, require_tag
from core.session.provenance import code_state
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun
from core.store.tokens import EvaluationText
from core.store.writer import Writer
from core.valid_json import json_of

NO_AIM = Aim()


@dataclass(frozen=True)
class Imported:
    """A run that was imported.

    Attributes:
        tokens: number of evaluated tokens.
        calibration_tokens: number of tokens that set its exits; 0 where they were set.
        unused: names of the file's arrays that mean nothing here.
    """

    number: int
    name: str
    state: RunState
    tokens: int
    calibration_tokens: int
    unused: tuple[str, ...]


def import_file(
    path: Path,
    store: Writer,
    *,
    name: str | None = None,
    tags: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    aim: Aim = NO_AIM,
) -> Imported:
    """Store the tokens of a file as a finished run.

    Args:
        name: None: the file's.
        given: values that stand for arrays of these names, whatever the file has.

    Raises:
        UsageError: the file, a name or an aim is no good; nothing is stored.
        StoreError: the name is taken; nothing is stored.
    """
    began = time.perf_counter()
    what = "name" if name is not None else "the file's name, which --name replaces,"
    name = path.stem if name is None else name
    require_name(what, name)
    for tag in tags:
        require_tag("tag", tag)
    arrays, unused = read_arrays(path)
    try:
        tokens = imported_tokens(arrays, given)
    except UsageError as error:
        raise type(error)(f"{path}: {error}") from None
    config = import_config(tokens, aim)
    held, kept = split(tokens, config, aim)
    text = _text(tokens, kept)
    record = _record(path, tokens, text, held)
    evaluation = Windows.of(tokens, kept)
    calibration = Windows.of(tokens, held) if len(held) else None
    size, costs = len(tokens.vocabulary), given_costs(config, record)
    parts = Parts(config, size, costs, calibration, evaluation, tokens.thresholds, tokens.notes)
    events = [*imported_events(parts)]
    events.append(RunFinished(time.perf_counter() - began, peak_memory()))
    number, state = _store(store, events, config, record, name, tags, text)
    return Imported(number, name, state, evaluation.targets.numel(), held.size * tokens.seq_len, unused)


def _store(
    store: Writer,
    events: Sequence[Event],
    config: RunConfig,
    record: dict[str, Any],
    name: str,
    tags: Sequence[str],
    text: EvaluationText,
) -> tuple[int, RunState]:
    """Store a run and its events; return its number, and its state after them."""
    new = NewRun(name, config.method_name, config.seed, None, json_of(known_config(config)), record, tuple(tags))
    (number,) = store.create_experiment([new])
    store.keep_text(record["fingerprint"], text)
    state = reduce_all(RunState(), events)
    store.append(number, events, state)
    return number, state


def _text(tokens: ImportedTokens, windows: Integers) -> EvaluationText:
    """Return the evaluated tokens as a text; the token before the first is not known, and stands for itself."""
    targets = tokens.targets[windows].ravel().tolist()
    return EvaluationText(tokens.vocabulary, array("i", [targets[0], *targets]))


def _record(path: Path, tokens: ImportedTokens, text: EvaluationText, held: Integers) -> dict[str, Any]:
    """Return all that is known of where the numbers are from, as plain values for JSON."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "corpus": tokens.corpus or "imported",
        "fingerprint": _fingerprint(text, held),
        "tokenizer": "imported" if tokens.has_text else "word",
        "vocab_size": len(tokens.vocabulary),
        "imported": {
            "file": path.name,
            "sha256": content,
            "costs": list(tokens.costs),
            "signal_costs": list(tokens.signal_costs),
        },
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": versions("numpy"),
        RECORD_KEY: {"name": tokens.method, "reads_head": False, "claims": tokens.claims, "learns": False},
        "command": command_line(),
        **code_state(),
    }


def _fingerprint(text: EvaluationText, held: Integers) -> str:
    """Return the identity of the evaluated text: runs of the same one are compared window by window."""
    digest = hashlib.sha256("\0".join(text.vocabulary).encode())
    digest.update(text.stream.tobytes())
    digest.update(np.asarray(held, np.int64).tobytes())
    return digest.hexdigest()
