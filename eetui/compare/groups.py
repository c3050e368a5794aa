"""Groups of runs by config values or figures: means over seeds, and the difference of every pair of groups."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from core.analysis.group_differences import (
    Sample,
    Samples,
    SeedsNeeded,
    adjusted,
    difference,
    mean_of,
    sample_of,
    seeds_needed,
)
from core.analysis.stored_figures import OWN_COLUMNS, AlikeRuns, stored_figures
from core.config.messages import did_you_mean, shortened
from core.config.stored import completed
from core.errors import UsageError
from core.intervals import LEVEL, Interval
from core.metrics import FINAL_PPL, STORED, Metric, Value, value_of
from core.store.reader import Query, Reader
from eetui.compare.comparison import shown
from eetui.drawing.figures import number_of

MOST_READ = 1000
"""Number of runs up to which the windows and the whole config of each are read: 100 runs take some 20 ms."""
MOST_PAIRED = 50
"""Number of groups up to which every pair is compared."""
MOST_NAMED = 8
"""Number of names that a note lists."""
COLUMN_OF = {name: name for name in OWN_COLUMNS} | {column.word: column.name for column, _ in STORED}
"""Columns of the store by the names that `--group-by` takes for them, as filters do."""
ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Group:
    """Runs that have the same values.

    Attributes:
        values: of the keys of the grouping, as they are shown.
        runs: number of runs; those of one seed are averaged to one draw.
        seeds: in order.
        figures: mean and standard deviation over seeds of what all its runs have; empty if their windows differ.
        windows: identity of its evaluation windows; those of all its runs.
        samples: its losses.
    """

    values: tuple[str, ...]
    runs: int
    seeds: tuple[int, ...]
    figures: Mapping[Metric, Value]
    windows: frozenset[tuple[object, ...]]
    samples: Samples

    @property
    def title(self) -> str:
        return " ".join(self.values)


@dataclass(frozen=True)
class Pair:
    """The difference in loss between two groups, `first − second` in nats.

    Attributes:
        interval: at 95%, of this pair alone; None with the reason why the two are not compared.
        p: p-value, adjusted for the number of pairs (Holm).
        needed: number of seeds that would settle it; None where it is clear.
    """

    first: int
    second: int
    interval: Interval | None = None
    p: float | None = None
    needed: SeedsNeeded | None = None
    reason: str = ""

    @property
    def clear(self) -> bool:
        """Whether it is unlikely to be noise, all pairs considered."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class Grouping:
    """All that `eetui compare --group-by` shows.

    Attributes:
        keys: names of the values that runs are grouped by.
        metrics: figures that some group has.
    """

    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    metrics: tuple[Metric, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def group_runs(reader: Reader, query: Query, names: Sequence[str]) -> Grouping:
    """Group the runs of a query that have a final PPL.

    Args:
        names: config keys, whole or their last part, columns of runs and the names of figures in filters.

    Raises:
        UsageError: no run of the query has a final PPL, or a name is not known.
    """
    count = reader.count(query)
    if not count:
        raise UsageError("no run matches: eetui ls lists what there is")
    first = reader.runs(Query(query.where, query.values, limit=1), ("id",))[0]["id"]
    known = tuple(completed(reader.run(first)["config"]) | {"method": "", "seed": 0})
    keys = [_key(name, known) for name in names]
    others = [key for key in known if key not in keys and key != "seed"] if count <= MOST_READ else []
    found = stored_figures(reader, query, [*keys, *others])
    finished = [alike.having(FINAL_PPL) for alike in found if alike.status == "finished"]
    usable = [alike for alike in finished if alike.runs]
    if not usable:
        raise UsageError(f"none of {count:,} runs has finished with a final PPL: {_statuses(found)}")
    grouped: dict[tuple[Any, ...], list[AlikeRuns]] = {}
    for alike in usable:
        grouped.setdefault(alike.values[: len(keys)], []).append(alike)
    samples = _samples(reader, usable) if count <= MOST_READ else {}
    groups = tuple(_group(grouped[values], values, samples) for values in sorted(grouped, key=_order))
    metrics = tuple(metric for _, metric in STORED if any(metric in group.figures for group in groups))
    notes = [*_notes(found), *_other_values(grouped, others, len(keys)), *_about(groups, count)]
    return Grouping(tuple(names), groups, metrics, _pairs(groups) if len(groups) <= MOST_PAIRED else (), tuple(notes))


def _key(name: str, known: Sequence[str]) -> str:
    """Return the config key or column that a name stands for.

    Raises:
        UsageError: there is none.
    """
    if name in COLUMN_OF:
        return COLUMN_OF[name]
    for key in known:
        if name in (key, key.rpartition(".")[2]):
            return key
    hint = did_you_mean(name, (*known, *COLUMN_OF))
    raise UsageError(f"--group-by: unknown config key or figure {shortened(name)!r}{hint}")


def _order(values: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    """Return what sorts groups by their values: numbers by size, whatever else is among them."""
    return tuple(
        ("number", value) if isinstance(value, int | float) else (type(value).__name__, str(value)) for value in values
    )


def _samples(reader: Reader, found: Iterable[AlikeRuns]) -> dict[int, Sample]:
    """Read the loss of each run with those of its windows, as far as they are kept."""
    samples = {}
    for run in (run for alike in found for run in alike.runs):
        losses = reader.window_losses(run, "early exit")
        if losses:
            samples[run] = sample_of(losses)
    return samples


def _group(parts: Sequence[AlikeRuns], values: tuple[Any, ...], samples: Mapping[int, Sample]) -> Group:
    rows = chain.from_iterable(zip(one.seeds, one.runs, *one.figures.values(), strict=True) for one in parts)
    seeds, runs, *columns = zip(*sorted(rows), strict=True)  # by seed, then by number
    edges = _edges(seeds)
    windows = frozenset(alike.windows for alike in parts)
    whole = {metric: column for metric, column in zip(parts[0].figures, columns, strict=True) if None not in column}
    return Group(
        values=tuple(shown(value) for value in values),
        runs=len(runs),
        seeds=tuple(seeds[start] for start in edges[:-1]),
        figures={metric: value_of(_means(column, edges)) for metric, column in whole.items() if len(windows) == 1},
        windows=windows,
        samples=_draws(seeds, runs, whole[FINAL_PPL], edges, samples),
    )


def _edges(seeds: Sequence[int]) -> Sequence[int]:
    """Return where each seed begins in a list of them in order, and where the last one ends."""
    if len(set(seeds)) == len(seeds):
        return range(len(seeds) + 1)
    return [0, *(place for place in range(1, len(seeds)) if seeds[place] != seeds[place - 1]), len(seeds)]


def _means(column: Sequence[float], edges: Sequence[int]) -> Sequence[float]:
    """Return the mean of a figure for each seed."""
    if len(edges) == len(column) + 1:
        return column
    return [
        column[start] if end == start + 1 else sum(column[start:end]) / (end - start) for start, end in pairwise(edges)
    ]


def _draws(
    seeds: Sequence[int],
    runs: Sequence[int],
    ppls: Sequence[float],
    edges: Sequence[int],
    samples: Mapping[int, Sample],
) -> Samples:
    """Return the loss of each seed, with its windows where those of its runs are known."""
    losses = list(map(math.log, ppls))
    if not samples:
        return Samples(tuple(seeds[start] for start in edges[:-1]), tuple(_means(losses, edges)))
    each = [samples.get(run) or Sample(loss) for run, loss in zip(runs, losses, strict=True)]
    return Samples.of({seeds[start]: mean_of(each[start:end]) for start, end in pairwise(edges)})


def _pairs(groups: Sequence[Group]) -> tuple[Pair, ...]:
    """Compare every pair of groups, and correct for the number of pairs compared."""
    places = [(first, second) for first in range(len(groups)) for second in range(first + 1, len(groups))]
    reasons = {place: _reason(groups[place[0]], groups[place[1]]) for place in places}
    found = {
        (first, second): difference(groups[first].samples, groups[second].samples)
        for first, second in places
        if not reasons[first, second]
    }
    estimates = {place: estimate for place, estimate in found.items() if estimate is not None}
    p_values = adjusted(estimates)
    unclear = sum(p >= ALPHA for p in p_values.values())  # Holm's test of the first of these is at α divided by it
    pairs = []
    for first, second in places:
        estimate = estimates.get((first, second))
        if estimate is None:
            pairs.append(Pair(first, second, reason=reasons[first, second] or "one seed, spread over seeds unknown"))
            continue
        p = p_values[first, second]
        needed = seeds_needed(estimate, ALPHA / unclear) if p >= ALPHA else None
        pairs.append(Pair(first, second, estimate.interval(), p, needed))
    return tuple(pairs)


def _reason(first: Group, second: Group) -> str:
    """Say why two groups can't be compared; empty if they can."""
    for group in (first, second):
        if len(group.windows) > 1:
            return f"runs of {group.title} are evaluated on different windows"
    if first.windows != second.windows:
        return "different windows"
    for group in (first, second):
        if not all(map(math.isfinite, group.samples.means)):
            return f"{group.title} has a PPL that is not finite"
    return ""


def _statuses(found: Iterable[AlikeRuns]) -> str:
    counts = Counter[str]()
    for alike in found:
        counts["finished without one" if alike.status == "finished" else alike.status] += len(alike.runs)
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())


def _notes(found: Sequence[AlikeRuns]) -> Iterator[str]:
    without = [alike.lacking(FINAL_PPL) if alike.status == "finished" else alike for alike in found]
    if left := [alike for alike in without if alike.runs]:
        yield f"left out, without a final PPL: {_statuses(left)}"


def _other_values(
    grouped: Mapping[tuple[Any, ...], Sequence[AlikeRuns]], others: Sequence[str], keys: int
) -> Iterator[str]:
    """Yield what else differs among the runs: averaged over if equally in each group and seed, else a warning."""
    averaged, confounded = list[str](), list[str]()
    uneven: dict[tuple[Any, ...], list[str]] = {}
    even: dict[tuple[Any, ...], list[str]] = {}
    for place, key in enumerate(others, start=keys):
        seeds = {values: _by_seed(parts, place) for values, parts in grouped.items()}
        cells = [cell for group in seeds.values() for cell in group]
        if len({value for cell in cells for value in cell}) > 1:
            everywhere = all(cell == cells[0] for cell in cells)
            (averaged if everywhere else confounded).append(key)
            for values, group in seeds.items():
                if any(cell != group[0] for cell in group):
                    uneven.setdefault(values, []).append(key)
                elif len(group[0]) > 1 and not everywhere:
                    even.setdefault(values, []).append(key)
    if averaged:
        yield f"averaged over {_some(averaged)}"
    for values, differing in even.items():
        yield f"{_runs_of(grouped, values)} are averaged over {_some(differing)}"
    for values, differing in uneven.items():
        yield (
            f"{_runs_of(grouped, values)} differ in {_some(differing)}, and not alike with every seed, so mean ± "
            "deviation mix them: filter, or add them to --group-by"
        )
    if confounded and len(grouped) > 1:  # what one group has unequally is said of it
        yield (
            f"not equally in every group and seed: {_some(confounded)}; a difference may come from there: filter, or "
            "add them to --group-by"
        )


def _runs_of(grouped: Mapping[tuple[Any, ...], Sequence[AlikeRuns]], values: tuple[Any, ...]) -> str:
    parts = grouped[values]
    runs, seeds = sum(len(alike.runs) for alike in parts), {seed for alike in parts for seed in alike.seeds}
    return f"{' '.join(map(shown, values))}: its {runs} runs of {number_of(len(seeds), 'seed')}"


def _by_seed(parts: Sequence[AlikeRuns], place: int) -> list[Counter[Any]]:
    """Return how often each value of a key is there among the runs of each seed of a group."""
    cells: dict[int, Counter[Any]] = {}
    for alike in parts:
        for seed in alike.seeds:
            cells.setdefault(seed, Counter())[alike.values[place]] += 1
    return list(cells.values())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _about(groups: Sequence[Group], count: int) -> Iterator[str]:
    mixed = [group.title for group in groups if len(group.windows) > 1]
    if mixed:
        yield f"evaluated on different windows, so without figures: {_some(mixed)}; add the corpus to --group-by"
    if count > MOST_READ:
        yield (
            f"{count:,} runs match: above {MOST_READ:,}, windows and other config values are not read, and "
            "intervals are over seeds only"
        )
    if len(groups) > MOST_PAIRED:
        yield f"{len(groups):,} groups: pairs are compared up to {MOST_PAIRED}; filter, or group by less"
