"""Messages about a refused config: a line for each problem, and the fields that it is about."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

SAID = 200
"""Most characters of a refused text that a message repeats."""


def explain(problem: Mapping[str, Any], origins: Mapping[str, str], known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return a message about one pydantic problem, and the reason for each field that it is about.

    The message reads `train.lr must be > 0, got -1 (from --set train.lr=-1)`.

    Args:
        origins: source of each given value, by field.
        known: names of all fields; a problem of several fields is about those that its message mentions.
    """
    name = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
    reason = _reason(str(problem["msg"]))
    if name in origins:
        reason = f"{reason}, got {shortened(_written(problem['input']))}"
        return f"{name} {reason} (from {origins[name]}){_near_choice(problem)}", {name: reason}
    about = [field for field in known if re.search(rf"\b{field.rpartition('.')[2]}\b", reason)]
    sources = [f"{field} from {origin}" for field, origin in origins.items() if field in about]
    return f"{reason} ({'; '.join(sources) or 'from the defaults'})", dict.fromkeys(about, reason)


def _near_choice(problem: Mapping[str, Any]) -> str:
    """Return a hint at the choice that a refused one is like; empty where there is none, or nothing to choose."""
    reason = str(problem["msg"])
    named = re.search(r"must be one of (.+?), or the path", reason)
    choices = named[1].split(", ") if named else re.findall(r"'([^']+)'", reason)
    return near_name(problem["input"], choices) if isinstance(problem["input"], str) else ""


def near_name(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean …?` with the nearest known name; empty where none is near."""
    near = difflib.get_close_matches(name[:SAID], known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean …?` with the nearest known name, comparing whole names and leaf names."""
    if near := near_name(name, known):
        return near
    leaves = {full.rpartition(".")[2]: full for full in known}
    leaf = difflib.get_close_matches(name[:SAID].rpartition(".")[2], leaves, n=1, cutoff=0.5)
    return f"; did you mean {leaves[leaf[0]]}?" if leaf else "; eetui run --help-config lists them all"


def shortened(text: str) -> str:
    """Return the text, or its beginning where it is long."""
    return text if len(text) <= SAID else f"{text[:SAID]}…"


def _written(value: object) -> str:
    """Return a refused value as Python writes it."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists
        return f"a very long {type(value).__name__}"


def _reason(message: str) -> str:
    """Reword a message of pydantic's so that it reads on after the field's name."""
    reason = re.sub(r"^(Value error, |(Input|String|Tuple) (?=should))", "", message)
    reason = re.sub(r" after validation, not \d+$", "", reason).replace("should have", "must have")
    reason = reason.replace("should match pattern", "must match")
    reason = reason.replace("should be", "must be").replace("greater than or equal to", ">=")
    return reason.replace("less than or equal to", "<=").replace("greater than", ">").replace("less than", "<")
