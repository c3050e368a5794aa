"""Messages about a refused config: a line for each problem, and the fields that it is about."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any


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
        reason = f"{reason}, got {problem['input']!r}"
        return f"{name} {reason} (from {origins[name]})", {name: reason}
    about = [field for field in known if re.search(rf"\b{field.rpartition('.')[2]}\b", reason)]
    sources = [f"{field} from {origin}" for field, origin in origins.items() if field in about]
    return f"{reason} ({'; '.join(sources) or 'from the defaults'})", dict.fromkeys(about, reason)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean …?` with the nearest known name, comparing whole names and leaf names."""
    leaves = {full.rpartition(".")[2]: full for full in known}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, n=1, cutoff=0.5)
    ]
    return f"; did you mean {near[0]}?" if near else "; eetui run --help-config lists them all"


def _reason(message: str) -> str:
    """Reword a message of pydantic's so that it reads on after the field's name."""
    reason = re.sub(r"^(Value error, |(Input|String|Tuple) (?=should))", "", message)
    reason = reason.removesuffix(" after validation, not 0").replace("should have", "must have")
    reason = reason.replace("should match pattern", "must match")
    reason = reason.replace("should be", "must be").replace("greater than or equal to", ">=")
    return reason.replace("less than or equal to", "<=").replace("greater than", ">").replace("less than", "<")
