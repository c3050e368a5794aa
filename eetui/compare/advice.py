"""What follows from runs side by side: differences with intervals, which run to take, and what to bear in mind."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.formulas import layers_saved, perplexity, ppl_change, relative_change
from core.intervals import Interval, paired
from core.metrics import FINAL_PPL, FLOP_SAVINGS, LAYER_SAVINGS, Metric, Value, way_ppl
from core.static_line import A_HAIR, Mixture, static_mixture
from eetui.compare.columns import Column, leaders, loss_difference


@dataclass(frozen=True)
class Advice:
    """The runs to take for a purpose, or `NONE`, and why."""

    purpose: str
    choice: str
    reason: str


NONE = "none"
"""Choice where no difference is clear."""
NOTHING_SKIPPED = "exited tokens run through all later blocks (exited_state=input), so none of these saves any"
HEAD_NOTE = "; its signal reads the whole head, which layers do not count"


def differences(columns: Sequence[Column], baseline: Column | None = None) -> tuple[str, ...]:
    """Final loss of each column against the baseline, or the best, with its interval; on the same windows only."""
    return tuple(_difference(column, base, found) for column, base, found in loss_intervals(columns, baseline))


def loss_intervals(
    columns: Sequence[Column], baseline: Column | None = None
) -> tuple[tuple[Column, Column, Interval], ...]:
    """Return each column, the baseline or else the best, and the interval of the difference of their final losses.

    Only columns of the same windows are there, and only those of which an interval is known.
    """
    ranked = _ranked(columns)
    if len(ranked) < 2 or (baseline is not None and baseline not in ranked):
        return ()
    base = ranked[0] if baseline is None else baseline
    return tuple(
        (column, base, found)
        for column in ranked
        if column is not base and column.fingerprint == base.fingerprint and (found := loss_difference(column, base))
    )


def _difference(column: Column, base: Column, found: Interval) -> str:
    clear = "" if found.clear else "; no clear difference"
    interval = f"[{found.low:+z.4f}, {found.high:+z.4f}] over {found.kind}"
    difference = f"{found.mean:+z.4f} nats {interval}, {ppl_change(found.mean):+z.2%} PPL"
    return f"{column.title} − {base.title}: {difference}{clear}"


def _ranked(columns: Sequence[Column]) -> list[Column]:
    """Columns with a result, best final PPL first; the report's come last, being of another corpus."""
    finished = [column for column in columns if column.value(FINAL_PPL) and column.value(LAYER_SAVINGS)]
    return sorted(finished, key=lambda column: (column.fingerprint == "report", _mean(column, FINAL_PPL)))


def _mean(column: Column, metric: Metric) -> float:
    value = column.value(metric)
    assert value is not None
    return value.mean


def advice(columns: Sequence[Column]) -> tuple[Advice, ...]:
    """Recommend columns for accuracy, compute and balance, among those of the windows that most columns share.

    A column is recommended only if another is clearly worse. Compute is counted in FLOPs where all runs know theirs, in
    layers as the report does otherwise; runs that skip no layer are not recommended for it.
    """
    ranked = _ranked(columns)
    ranked = [column for column in ranked if column.fingerprint == main_fingerprint(ranked)]
    if len(ranked) < 2:
        return ()
    cost = FLOP_SAVINGS if all(column.value(FLOP_SAVINGS) for column in ranked) else LAYER_SAVINGS
    skipping = [column for column in ranked if column.runs[0].skips]
    return (_for_accuracy(ranked), _for_compute(skipping, ranked, cost), *_for_balance(skipping, cost))


def _for_accuracy(ranked: Sequence[Column]) -> Advice:
    best, *others = leaders(ranked, FINAL_PPL)
    lowest = f"lowest final PPL, {_mean(best, FINAL_PPL):.2f}"
    if len(others) + 1 == len(ranked):
        return Advice("accuracy", NONE, f"no difference in final PPL is clear ({lowest}: {best.title}){_seeds(ranked)}")
    return Advice("accuracy", _titles([best, *others]), f"{lowest}{_tie(others)}{_seeds(ranked)}{static_note(best)}")


def _for_compute(skipping: Sequence[Column], ranked: Sequence[Column], cost: Metric) -> Advice:
    saved = _words(cost)
    if not skipping:
        return Advice("compute", NONE, NOTHING_SKIPPED)
    best, *others = leaders(skipping, cost)
    share = _mean(best, cost)
    if len(others) + 1 == len(skipping) > 1:
        reason = f"no difference in {saved} saved is clear (most, {share:.1%}: {best.title}){_seeds(skipping)}"
        return Advice("compute", NONE, reason)
    note = HEAD_NOTE if cost == LAYER_SAVINGS and best.runs[0].reads_head else ""
    if share < 0:
        reason = f"costs least, {-share:.1%} more {saved} than never exiting: none of these saves any"
    else:
        reason = f"saves most {saved}, {share:.1%}, {_price(best, ranked[0])}"
    reason = f"{reason}{_tie(others)}{note}{_seeds(skipping)}{static_note(best)}"
    return Advice("compute", _titles([best, *others]), reason)


def _price(column: Column, best: Column) -> str:
    """Say what a column's savings cost in PPL, against the best of all."""
    change = relative_change(_mean(column, FINAL_PPL), _mean(best, FINAL_PPL))
    return f"at a PPL of {_mean(column, FINAL_PPL):.2f}" if change is None else f"for {change:+z.1%} PPL"


def _for_balance(skipping: Sequence[Column], cost: Metric) -> tuple[Advice, ...]:
    """Recommend the columns nearest to the best of both; none where no difference is clear.

    One whose PPL is infinite is near nothing.
    """
    skipping = [column for column in skipping if math.isfinite(_mean(column, FINAL_PPL))]
    distances = dict.fromkeys(range(len(skipping)), 0.0)
    for metric in (FINAL_PPL, cost):
        leading = leaders(skipping, metric) if len(skipping) > 1 else list(skipping)
        best = _mean(leading[0], metric) if leading else 0.0
        gaps = {
            index: 0.0 if any(column is leader for leader in leading) else abs(_mean(column, metric) - best)
            for index, column in enumerate(skipping)
        }
        for index, gap in gaps.items():
            distances[index] += (gap / max(gaps.values())) ** 2 if gap else 0.0
    if len(set(distances.values())) < 2:
        return ()
    nearest = [skipping[index] for index, gap in distances.items() if gap == min(distances.values())]
    reason = (
        f"nearest to the best of both: PPL {_mean(nearest[0], FINAL_PPL):.2f} at {_mean(nearest[0], cost):.1%} of "
        f"{_words(cost)} saved{_tie(nearest[1:])}{_seeds(skipping)}{static_note(nearest[0])}"
    )
    return (Advice("balance", _titles(nearest), reason),)


def _titles(columns: Sequence[Column]) -> str:
    return " or ".join(column.title for column in columns)


def _tie(others: Sequence[Column]) -> str:
    return "; no clear difference between these" if others else ""


def _seeds(columns: Sequence[Column]) -> str:
    """Say that another seed may rank otherwise, where a column has only one."""
    return "; of one seed, others may rank otherwise" if any(len(column.runs) == 1 for column in columns) else ""


def _words(cost: Metric) -> str:
    return "FLOPs" if cost == FLOP_SAVINGS else "layers"


def static_note(column: Column) -> str:
    """Say which fixed depth of the same models is better, where the static line lies below early exit.

    The line is taken at the layers that are really saved. A depth that saves a little less is named too, as part of a
    mixture.
    """
    depths = list(_fixed_depths(column))
    if not depths:
        return ""
    names, savings, ppls = zip(*depths, strict=True)
    at = _mean(column, LAYER_SAVINGS) if column.runs[0].skips else 0.0
    line = static_mixture(savings, [math.log(ppl.mean) for ppl, _ in ppls], at)
    early = _mean(column, FINAL_PPL)
    if not math.isfinite(early) or line.loss >= math.log(early):
        return ""
    ppl, _ = ppls[line.main]
    found = _below_line(column, line, [metric for _, metric in ppls])
    sure = "" if found is not None and found.clear else ", by no clear difference"
    depth = f"{names[line.main]} saves {savings[line.main]:.1%} of the layers at PPL {ppl.mean:.2f}"
    if ppl.mean < early and savings[line.main] >= at - A_HAIR:
        return f"; a fixed depth is better{sure}: {depth}"
    return f"; fixed depths mixed at random are better{sure}: PPL {perplexity(line.loss):.2f} (mostly {depth})"


def _fixed_depths(column: Column) -> Iterator[tuple[str, float, tuple[Value, Metric]]]:
    """Yield name, layer savings and PPL of each fixed depth of the finished models."""
    layers = column.runs[0].block_layers
    for block, saved in enumerate(layers_saved(layers)):
        last = block == len(layers) - 1
        metric = way_ppl("all blocks") if last else way_ppl("alone", block)
        ppl = column.value(metric)
        if ppl is not None and math.isfinite(ppl.mean):
            name = "all blocks" if last else f"block {block} alone"
            yield name, saved, (ppl, metric)


def _below_line(column: Column, line: Mixture, metrics: Sequence[Metric]) -> Interval | None:
    """Return the interval of early exit's loss minus the line's, over the same seeds and windows."""
    early = [run.windows.get(FINAL_PPL, ()) for run in column.runs]
    mixed = [line.of_windows([run.windows.get(metric, ()) for metric in metrics]) for run in column.runs]
    if len({len(losses) for losses in (*early, *mixed)}) > 1:
        return None
    return paired(early, mixed)


def main_fingerprint(columns: Sequence[Column]) -> str | None:
    """Return the fingerprint of the windows that most columns share."""
    prints = [column.fingerprint for column in columns]
    return max(prints, key=prints.count) if prints else None


def notes(columns: Sequence[Column]) -> tuple[str, ...]:
    found = []
    measured = [column for column in columns if column.runs[0].metrics]
    corpora = {column.fingerprint: column.runs[0].corpus for column in measured}
    if len(corpora) > 1:
        listed = "; ".join(sorted(set(corpora.values())))
        found.append(f"different windows, so figures are ranked only within one of: {listed}")
    elif len({column.runs[0].training_windows for column in measured}) > 1:
        found.append("not trained and stopped on the same windows, so the training table ranks only those that were")
    for column in columns:
        if column.runs[0].status != "finished":
            found.append(f"{column.title} is {column.runs[0].status}: its figures are of what it reached")
        found += _warnings(column)
    return tuple(found)


def _warnings(column: Column) -> list[str]:
    """Return a column's warnings; over several seeds one of each kind, with the number of seeds that have it."""
    if len(column.runs) == 1:
        return [f"{column.title}: {warning}" for warning in column.runs[0].warnings]
    kinds: dict[str, list[str]] = {}
    for run in column.runs:
        for warning in run.warnings:
            kinds.setdefault(re.sub(r"\d+(\.\d+)?%?", "#", warning), []).append(warning)
    seeds = len(column.runs)
    return [f"{column.title}: {len(found)} of {seeds} seeds warn, such as: {found[0]}" for found in kinds.values()]
