"""The runs that words on the command line stand for: names and numbers, or a filter as in `eetui ls`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import UsageError

if TYPE_CHECKING:
    from core.store.reader import Query, Reader

MOST_RUNS = 300
"""Number of runs up to which they are put side by side: the log of each is read."""


def expanded(reader: "Reader", words: Sequence[str]) -> list[str]:
    """Return references to the runs that words stand for: those of a filter, or else of the latest experiment.

    Raises:
        UsageError: the filter is not valid, or lets no run or too many through.
        RunLookupError: there are no words, and no run has finished.
    """
    from eetui.compare.report_runs import PREFIX
    from eetui.runs.filters import parse

    if not words:
        return [str(number) for number in reader.latest_experiment()]
    if not _are_filters(reader, words):
        return list(words)
    query = parse(word for word in words if not word.startswith(PREFIX))
    count = reader.count(query)
    if not count:
        raise UsageError(f"no run matches {' '.join(words)!r}: eetui ls lists what there is")
    if count > MOST_RUNS:
        raise UsageError(
            f"{count:,} runs match, and at most {MOST_RUNS} are put side by side: narrow the filter, or take --group-by"
        )
    found = [str(row["id"]) for row in reader.runs(query, ("id",))]
    return [*(word for word in words if word.startswith(PREFIX)), *found]


def selected(reader: "Reader", words: Sequence[str]) -> "Query":
    """Return the query of the runs that words name or, if one of them is a condition, of those that fit all words.

    Raises:
        UsageError: the filter is not valid, or a word is a column of the report.
        RunLookupError: a word names no run.
    """
    from core.store.reader import Query
    from eetui.compare.report_runs import PREFIX
    from eetui.runs.filters import parse

    if _are_filters(reader, words):
        return parse(words)
    if report := next((word for word in words if word.startswith(PREFIX)), None):
        raise UsageError(f"{report} is not a run of the database: it has no seeds and windows to group")
    numbers = [reader.find(word) for word in words] or reader.latest_experiment()
    return Query(f"id IN ({', '.join('?' * len(numbers))})", tuple(numbers))


def _are_filters(reader: "Reader", words: Sequence[str]) -> bool:
    """Tell whether some word is a condition, and not the name of a run that looks like one."""
    from eetui.runs.filters import is_filter

    return any(is_filter(word) and not reader.is_called(word) for word in words)
