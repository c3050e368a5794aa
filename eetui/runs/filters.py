"""The filter language of run lists: `method:loss ppl<900 tag:x status:failed text`, as SQL conditions.

Words are joined by "and". `field:value` compares text, `field<number` (also `<= > >= =`) a figure, and anything else
is searched for in the name.
"""

import math
import re
from collections.abc import Iterable

from core.errors import UsageError
from core.metrics import STORED
from core.state import STATUSES
from core.store.reader import Query

TEXT_FIELDS = {"method": "method", "status": "status", "name": "name", "preset": "preset"}
FIGURES = {
    "id": "id",
    "experiment": "experiment",
    "seed": "seed",
    **{column.word: column.name for column, _ in STORED},
    "seconds": "seconds",
}
SORTS = {**TEXT_FIELDS, **FIGURES, "created": "created"}
_COMPARISON = re.compile(r"(?P<field>[a-z0-9_]+)(?P<operator><=|>=|<|>|=)(?P<number>.*)")


def parse(words: Iterable[str], sort: str = "id", *, descending: bool = False) -> Query:
    """Return the query of the filter words and the sort key.

    Raises:
        UsageError: an unknown field or sort key, or a figure that is no number.
    """
    if sort not in SORTS:
        raise UsageError(f"can't sort by {sort!r}: take one of {', '.join(SORTS)}")
    conditions, values = ["1"], []
    for word in " ".join(words).split():
        condition, value = _condition(word)
        conditions.append(condition)
        values.append(value)
    return Query(" AND ".join(conditions), tuple(values), SORTS[sort], descending)


def is_filter(word: str) -> bool:
    """Tell whether a word is a condition on a field, and not a name or a number: `method:loss`, `ppl<900`."""
    field, colon, _ = word.partition(":")
    return bool(colon and field in ("tag", "sweep", *TEXT_FIELDS)) or _COMPARISON.fullmatch(word) is not None


def without_the_unfinished(text: str) -> str:
    """Drop a last word that may be unfinished: `sta`, `status:`, `status:fin`, `ppl`."""
    rest, space, word = text.rpartition(" ")
    field, colon, value = word.partition(":")
    if colon and field == "status":
        unfinished = any(status.startswith(value) and status != value for status in STATUSES)
    elif colon:
        unfinished = not value
    else:
        unfinished = any(name.startswith(word) for name in ("tag", "sweep", *TEXT_FIELDS, *FIGURES))
    return rest + space if unfinished else text


def _condition(word: str) -> tuple[str, str | float]:
    field, colon, text = word.partition(":")
    if colon and field == "tag":
        return "id IN (SELECT run_id FROM tags WHERE tag = ?)", text
    if colon and field == "sweep":
        return "id IN (SELECT run_id FROM sweep_cells JOIN sweeps ON sweeps.id = sweep_id WHERE sweeps.name = ?)", text
    if colon and field in TEXT_FIELDS:
        return f"{TEXT_FIELDS[field]} = ?", text
    if match := _COMPARISON.fullmatch(word):
        return _figure_condition(word, match["field"], match["operator"], match["number"])
    if colon:
        raise UsageError(f"filter {word!r}: {field!r} must be one of tag, sweep, {', '.join(TEXT_FIELDS)}")
    return "instr(lower(name), lower(?)) > 0", word


def _figure_condition(word: str, field: str, operator: str, number: str) -> tuple[str, float]:
    if field not in FIGURES:
        raise UsageError(f"filter {word!r}: {field!r} must be one of {', '.join(FIGURES)}")
    scale = 0.01 if number.endswith("%") else 1.0
    try:
        value = float(number.removesuffix("%")) * scale
    except ValueError:
        value = math.nan
    if math.isnan(value):  # no figure is below it, above it or the same
        raise UsageError(f"filter {word!r}: {number!r} must be a number, such as 900, 10% or inf")
    return f"{FIGURES[field]} {operator} ?", value
