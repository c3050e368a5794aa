"""What follows from runs side by side: differences with intervals, which run to take, and what to bear in mind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.formulas import perplexity
from core.metrics import FINAL_PPL, FLOP_SAVINGS, LAYER_SAVINGS, Metric, best_of, way_ppl
from eetui.compare.columns import Column, loss_difference


@dataclass(frozen=True)
class Advice:
    """The run to take for a purpose, and why."""

    purpose: str
    choice: str
    reason: str


HEAD_NOTE = "; its signal reads the whole head, which layers do not count"


def differences(columns: Sequence[Column], baseline: Column | None = None) -> tuple[str, ...]:
    """Final loss of each column against the baseline, or the best, with its interval; on the same windows only."""
    ranked = _ranked(columns)
    if len(ranked) < 2 or (baseline is not None and baseline not in ranked):
        return ()
    base = ranked[0] if baseline is None else baseline
    return tuple(
        text
        for column in ranked
        if column is not base and column.fingerprint == base.fingerprint and (text := _difference(column, base))
    )


def _difference(column: Column, base: Column) -> str | None:
    found = loss_difference(column, base)
    if found is None:
        return None
    clear = "" if found.clear else "; no clear difference"
    interval = f"[{found.low:+.4f}, {found.high:+.4f}] over {found.kind}"
    difference = f"{found.mean:+.4f} nats {interval}, {perplexity(found.mean) - 1:+.2%} PPL"
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
    """Recommend a column for accuracy, compute and balance, among those of the tokens that most columns share.

    Compute is counted in FLOPs where all runs know theirs, in layers as the report does otherwise.
    """
    ranked = _ranked(columns)
    if not ranked:
        return ()
    ranked = [column for column in ranked if column.fingerprint == main_fingerprint(ranked)]
    if len(ranked) < 2:
        return ()
    cost = FLOP_SAVINGS if all(column.value(FLOP_SAVINGS) for column in ranked) else LAYER_SAVINGS
    saved = "FLOPs" if cost == FLOP_SAVINGS else "layers"
    accurate = ranked[0]
    frugal = max(ranked, key=lambda column: _mean(column, cost))
    balanced = min(ranked, key=lambda column: _distance_to_ideal(column, ranked, cost))
    price = _mean(frugal, FINAL_PPL) / _mean(accurate, FINAL_PPL) - 1
    return (
        Advice(
            "accuracy", accurate.title, f"lowest final PPL, {_mean(accurate, FINAL_PPL):.2f}{_static_note(accurate)}"
        ),
        Advice("compute", frugal.title, _thrift(frugal, cost, saved, price)),
        Advice(
            "balance",
            balanced.title,
            f"nearest to the best of both: PPL {_mean(balanced, FINAL_PPL):.2f} at "
            f"{_mean(balanced, cost):.1%} of {saved} saved",
        ),
    )


def _thrift(column: Column, cost: Metric, saved: str, price: float) -> str:
    """Say what the cheapest run saves, and for which price."""
    share = _mean(column, cost)
    if share < 0:
        return f"costs least, {-share:.1%} more {saved} than never exiting: none of these saves any"
    note = HEAD_NOTE if cost == LAYER_SAVINGS and column.runs[0].reads_head else ""
    return f"saves most {saved}, {share:.1%}, for {price:+.1%} PPL{note}"


def main_fingerprint(columns: Sequence[Column]) -> str | None:
    """Return the fingerprint of the tokens that most columns share."""
    prints = [column.fingerprint for column in columns]
    return max(prints, key=prints.count) if prints else None


def _static_note(column: Column) -> str:
    """Say what a fixed depth of the same model would do, where it does better."""
    static = column.value(way_ppl("all blocks"))
    if static is None or static.mean >= _mean(column, FINAL_PPL):
        return ""
    return f" (all blocks without exit: {static.mean:.2f})"


def _distance_to_ideal(column: Column, columns: Sequence[Column], cost: Metric) -> float:
    """Distance to (lowest PPL, most savings), both scaled to the range of the columns."""
    total = 0.0
    for metric in (FINAL_PPL, cost):
        values = [_mean(other, metric) for other in columns]
        spread = max(values) - min(values)
        total += ((_mean(column, metric) - best_of(values, metric.better)) / spread) ** 2 if spread else 0.0
    return total


def notes(columns: Sequence[Column]) -> tuple[str, ...]:
    found = []
    corpora = {column.fingerprint: column.runs[0].corpus for column in columns}
    if len(corpora) > 1:
        found.append(
            "different tokens, so PPLs are ranked only within one of: " + "; ".join(sorted(set(corpora.values())))
        )
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
