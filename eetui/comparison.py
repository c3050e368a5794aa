"""Runs side by side, as plain data: which rows there are, what stands in them, which value is best, and what follows.

Runs that differ in their seed only share a column and show mean ± standard deviation.
"""

import itertools
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.bootstrap import paired_difference
from core.events import perplexity
from core.state import RunState

Unit = Literal["ppl", "share", "signal", "loss", "count", "nats"]
Better = Literal["lower", "higher"] | None


@dataclass(frozen=True)
class RunView:
    """What a comparison needs of a run.

    Attributes:
        fingerprint: of the tokens it was trained and evaluated on; figures of different ones can't be ranked.
        config: by dotted names.
        metrics: by the keys of `FINAL_ROWS` and of the training table.
        window_losses: early exit's mean loss of each evaluation window, in nats.
    """

    name: str
    method: str
    seed: int
    status: str
    fingerprint: str
    corpus: str
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    window_losses: Sequence[float] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One run, or the runs of one config with several seeds."""

    runs: tuple[RunView, ...]
    own_title: str = ""

    @property
    def title(self) -> str:
        several = f"{self.runs[0].method} ×{len(self.runs)}"
        return self.own_title or (self.runs[0].name if len(self.runs) == 1 else several)

    @property
    def subtitle(self) -> str:
        """`seed 42`, or the seeds that the mean is over."""
        seeds = ", ".join(str(run.seed) for run in self.runs)
        return f"one seed: {seeds}" if len(self.runs) == 1 else f"{len(self.runs)} seeds: {seeds}"

    @property
    def fingerprint(self) -> str:
        return self.runs[0].fingerprint

    def value(self, key: str) -> "Value | None":
        """Mean and standard deviation of a metric, if every run has it."""
        values = [run.metrics[key] for run in self.runs if key in run.metrics]
        if len(values) < len(self.runs):
            return None
        return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Value:
    """A figure and, over several seeds, its standard deviation."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table: a value for each column, and which columns have the best one."""

    key: str
    label: str
    unit: Unit
    better: Better
    values: tuple[Value | None, ...]
    best: frozenset[int] = frozenset()

    @property
    def changes(self) -> bool:
        """Whether the columns differ."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Advice:
    """The run to take for a purpose, and why."""

    purpose: str
    choice: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All that `eetui compare` shows, in every format."""

    columns: tuple[Column, ...]
    final: tuple[Row, ...]
    training: tuple[Row, ...]
    config: tuple[tuple[str, tuple[str, ...]], ...]
    differences: tuple[str, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...] = field(default=())


HEAD_NOTE = "; its signal reads the whole head, which layers do not count"

FINAL_ROWS: tuple[tuple[str, str, Unit, Better], ...] = (
    ("final_ppl", "Final PPL (early exit)", "ppl", "lower"),
    ("accuracy", "Accuracy", "share", "higher"),
    ("shallow_ratio", "Shallow ratio (realised)", "share", None),
    ("shallow_target", "Shallow ratio (target)", "share", None),
    ("layer_savings", "Layer savings", "share", "higher"),
)
"""Rows on the evaluation split, all tokens; the static depths and the oracle follow them."""


def view(row: Mapping[str, Any], state: RunState, window_losses: Sequence[float], config: Mapping[str, Any]) -> RunView:
    """A stored run as a comparison sees it; `config` by dotted names."""
    return RunView(
        name=row["name"],
        method=row["method"],
        seed=row["seed"],
        status=row["status"],
        fingerprint=row["record"]["fingerprint"],
        corpus=f"{row['record']['corpus']}, {row['record']['tokenizer']}, vocabulary {row['record']['vocab_size']:,}",
        config=config,
        metrics=run_metrics(state, float(config["exit.hard_ratio"])),
        window_losses=window_losses,
        warnings=state.warnings,
    )


def run_metrics(state: RunState, hard_ratio: float) -> dict[str, float]:
    """Every figure of a run by its key."""
    metrics: dict[str, float] = {}
    if state.final:
        metrics |= {
            "final_ppl": perplexity(state.final.loss),
            "accuracy": state.final.accuracy,
            "shallow_ratio": state.final.shallow_ratio,
            "shallow_target": 1 - hard_ratio ** (len(state.final.exit_shares) - 1),
            "layer_savings": state.final.layer_savings,
        }
    for measured in state.measured:
        if measured.split == "eval" and measured.name != "early exit":
            metrics[f"eval.{measured.name}"] = perplexity(measured.loss)
    for stage in state.stages:
        found: dict[str, float | None] = {}
        if stage.kind == "lm" and stage.history and stage.best:
            found = {"val_ppl": stage.val_ppl, "train_ppl": perplexity(stage.best.loss)}
            found |= {"best_epoch": stage.best.epoch, "epochs": len(stage.history)}
        if stage.history and stage.history[0].exit_loss is not None:
            found |= {"exit_loss_first": stage.history[0].exit_loss, "exit_loss_last": stage.history[-1].exit_loss}
            found["avg_label"] = stage.avg_label
        if stage.threshold:
            found |= {"threshold": stage.threshold.threshold, "hard_tokens": stage.threshold.hard_tokens}
        metrics |= {f"block{stage.block}.{key}": value for key, value in found.items() if value is not None}
    return metrics


def compare(runs: Sequence[RunView], *, group_seeds: bool = True, only_changed: bool = False) -> Comparison:
    """Put runs side by side."""
    columns = _columns(runs) if group_seeds else tuple(Column((run,)) for run in runs)
    final = _rows(columns, [*FINAL_ROWS, *_static_rows(columns)])
    training = _rows(columns, _training_rows(columns))
    if only_changed:
        final, training = (tuple(row for row in rows if row.changes) for rows in (final, training))
    return Comparison(
        columns=columns,
        final=final,
        training=training,
        config=_config_differences(columns),
        differences=_differences(columns),
        advice=_advice(columns),
        notes=_notes(columns),
    )


def _columns(runs: Sequence[RunView]) -> tuple[Column, ...]:
    groups: dict[tuple[Any, ...], list[RunView]] = {}
    for run in runs:
        config = tuple(sorted((key, str(value)) for key, value in run.config.items() if key != "seed"))
        key: tuple[Any, ...] = (run.fingerprint, run.status, config)
        repeat = 0  # the same config and seed once more is no further seed
        while any(other.seed == run.seed for other in groups.get((*key, repeat), ())):
            repeat += 1
        groups.setdefault((*key, repeat), []).append(run)
    columns = [Column(tuple(group)) for group in groups.values()]
    titles = [column.title for column in columns]
    return tuple(
        Column(column.runs, f"{column.runs[0].name} ×{len(column.runs)}")
        if len(column.runs) > 1 and titles.count(column.title) > 1
        else column
        for column in columns
    )


def _static_rows(columns: Sequence[Column]) -> list[tuple[str, str, Unit, Better]]:
    names = dict.fromkeys(
        key for column in columns for run in column.runs for key in run.metrics if key.startswith("eval.")
    )
    order = sorted(names, key=lambda key: (key == "eval.oracle", key == "eval.all blocks", "alone" in key))
    return [(key, f"{key.removeprefix('eval.').capitalize()}, PPL", "ppl", "lower") for key in order]


TRAINING_ROWS: tuple[tuple[str, str, Unit, Better], ...] = (
    ("val_ppl", "early-stop PPL", "ppl", "lower"),
    ("train_ppl", "train PPL, same epoch", "ppl", None),
    ("best_epoch", "best epoch", "count", None),
    ("epochs", "epochs trained", "count", None),
    ("exit_loss_first", "exit loss, first epoch", "loss", None),
    ("exit_loss_last", "exit loss, last epoch", "loss", None),
    ("avg_label", "avg_label", "signal", None),
    ("threshold", "threshold", "signal", None),
    ("hard_tokens", "hard tokens", "count", None),
)


def _training_rows(columns: Sequence[Column]) -> list[tuple[str, str, Unit, Better]]:
    """Later blocks train on their own method's hard tokens, so their PPLs say so and are not ranked."""
    keys = {key for column in columns for run in column.runs for key in run.metrics}
    blocks = sorted({int(key.partition(".")[0][5:]) for key in keys if key.startswith("block")})
    rows: list[tuple[str, str, Unit, Better]] = []
    for block, (key, label, unit, better) in itertools.product(blocks, TRAINING_ROWS):
        if f"block{block}.{key}" in keys:
            own = block > 0 and unit == "ppl"
            label = f"Block {block} {label}" + (" (own hard tokens)" if own else "")
            rows.append((f"block{block}.{key}", label, unit, None if own else better))
    return rows


def _rows(columns: Sequence[Column], rows: Sequence[tuple[str, str, Unit, Better]]) -> tuple[Row, ...]:
    made = []
    for key, label, unit, better in rows:
        values = tuple(column.value(key) for column in columns)
        if any(values):
            made.append(Row(key, label, unit, better, values, _best(columns, values, better)))
    return tuple(made)


def _best(columns: Sequence[Column], values: Sequence[Value | None], better: Better) -> frozenset[int]:
    """The columns with the best value among those of the same tokens, where they are not all equal."""
    if better is None:
        return frozenset()
    best: set[int] = set()
    choose: Callable[[list[float]], float] = min if better == "lower" else max
    for fingerprint in {column.fingerprint for column in columns}:
        here = {i: v.mean for i, v in enumerate(values) if v is not None and columns[i].fingerprint == fingerprint}
        if len(set(here.values())) > 1:
            best |= {index for index, mean in here.items() if mean == choose(list(here.values()))}
    return frozenset(best)


def _config_differences(columns: Sequence[Column]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    keys = dict.fromkeys(key for column in columns for key in column.runs[0].config if key != "seed")
    rows = []
    for key in keys:
        known = [column.runs[0].config[key] for column in columns if key in column.runs[0].config]
        if len({_shown(value) for value in known}) > 1:
            values = tuple(_shown(column.runs[0].config.get(key, "–")) for column in columns)
            rows.append((key, values))
    return tuple(rows)


def _shown(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def _differences(columns: Sequence[Column]) -> tuple[str, ...]:
    """Final loss of each column against the best, with its interval, where both have the same windows."""
    ranked = _ranked(columns)
    if len(ranked) < 2:
        return ()
    best, *others = ranked
    return tuple(
        text for column in others if column.fingerprint == best.fingerprint and (text := _difference(column, best))
    )


def _difference(column: Column, best: Column) -> str | None:
    first, second = _mean_windows(column), _mean_windows(best)
    if not first or len(first) != len(second):
        return None
    low, mean, high = paired_difference(first, second)
    clear = "" if low > 0 or high < 0 else "; no clear difference"
    return (
        f"{column.title} − {best.title}: {mean:+.4f} nats [{low:+.4f}, {high:+.4f}], "
        f"{perplexity(mean) - 1:+.2%} PPL{clear}"
    )


def _mean_windows(column: Column) -> list[float]:
    """Loss of each window, mean over the seeds; empty where a run has none."""
    losses = [run.window_losses for run in column.runs]
    if len({len(run) for run in losses}) != 1:
        return []
    return [statistics.fmean(window) for window in zip(*losses, strict=True)]


def _ranked(columns: Sequence[Column]) -> list[Column]:
    """Columns with a result, best final PPL first; the report's come last, being of another corpus."""
    finished = [column for column in columns if column.value("final_ppl") and column.value("layer_savings")]
    return sorted(finished, key=lambda column: (column.fingerprint == "report", _mean(column, "final_ppl")))


def _mean(column: Column, key: str) -> float:
    value = column.value(key)
    assert value is not None
    return value.mean


def _advice(columns: Sequence[Column]) -> tuple[Advice, ...]:
    """Which to take for accuracy, compute and balance, among the columns of the tokens that most columns share."""
    ranked = _ranked(columns)
    if not ranked:
        return ()
    prints = [column.fingerprint for column in ranked]
    ranked = [column for column in ranked if column.fingerprint == max(prints, key=prints.count)]
    if len(ranked) < 2:
        return ()
    accurate = ranked[0]
    frugal = max(ranked, key=lambda column: _mean(column, "layer_savings"))
    balanced = min(ranked, key=lambda column: _distance_to_ideal(column, ranked))
    price = _mean(frugal, "final_ppl") / _mean(accurate, "final_ppl") - 1
    return (
        Advice(
            "accuracy", accurate.title, f"lowest final PPL, {_mean(accurate, 'final_ppl'):.2f}{_static_note(accurate)}"
        ),
        Advice(
            "compute",
            frugal.title,
            f"saves most layers, {_mean(frugal, 'layer_savings'):.1%}, for {price:+.1%} PPL"
            + (HEAD_NOTE if frugal.runs[0].method == "softmax" else ""),
        ),
        Advice(
            "balance",
            balanced.title,
            f"nearest to the best of both: PPL {_mean(balanced, 'final_ppl'):.2f} at "
            f"{_mean(balanced, 'layer_savings'):.1%} of layers saved",
        ),
    )


def _static_note(column: Column) -> str:
    """What a fixed depth of the same model would do, where it does better."""
    static = column.value("eval.all blocks")
    if static is None or static.mean >= _mean(column, "final_ppl"):
        return ""
    return f" (all blocks without exit: {static.mean:.2f})"


def _distance_to_ideal(column: Column, columns: Sequence[Column]) -> float:
    """Distance to (lowest PPL, most savings), both scaled to the range of the columns."""
    total = 0.0
    for key, best in (("final_ppl", min), ("layer_savings", max)):
        values = [_mean(other, key) for other in columns]
        spread = max(values) - min(values)
        total += ((_mean(column, key) - best(values)) / spread) ** 2 if spread else 0.0
    return total


def _notes(columns: Sequence[Column]) -> tuple[str, ...]:
    notes = []
    corpora = {column.fingerprint: column.runs[0].corpus for column in columns}
    if len(corpora) > 1:
        notes.append(
            "different tokens, so PPLs are ranked only within one of: " + "; ".join(sorted(set(corpora.values())))
        )
    for column in columns:
        if column.runs[0].status != "finished":
            notes.append(f"{column.title} is {column.runs[0].status}: its figures are of what it reached")
        notes += _warnings(column)
    return tuple(notes)


def _warnings(column: Column) -> list[str]:
    """A column's warnings; over several seeds one of each kind, with the number of seeds that have it."""
    if len(column.runs) == 1:
        return [f"{column.title}: {warning}" for warning in column.runs[0].warnings]
    kinds: dict[str, list[str]] = {}
    for run in column.runs:
        for warning in run.warnings:
            kinds.setdefault(re.sub(r"\d+(\.\d+)?%?", "#", warning), []).append(warning)
    seeds = len(column.runs)
    return [f"{column.title}: {len(found)} of {seeds} seeds warn, such as: {found[0]}" for found in kinds.values()]
