"""The table of metrics: name, unit, value and place of each figure of a run.

Final and training tables, lists with their sorting and filters, previews, exports and the columns of the store are all
derived from these rows. To add a metric, add a row here, the event that carries its figure and, where lists sort by
it, a migration that adds its column to the store.
"""

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.config.derived import target_shallow_ratio
from core.events import Epoch, Measured, Priced, Savings, Strided, Threshold, Way, way_name
from core.formulas import bits_at, perplexity
from core.intervals import deviation
from core.state import RunState, StageState

Unit = Literal["ppl", "bits", "share", "signal", "loss", "count", "nats"]
Better = Literal["lower", "higher"] | None
"""Direction in which a metric improves; None where it depends."""
Config = Mapping[str, Any]
"""A run's config by dotted names, complete (`core.config.stored.completed`)."""
WAYS: tuple[Way, ...] = ("as trained", "alone", "all blocks", "oracle")
"""Ways through the model in the final table beside early exit, in its order."""


@dataclass(frozen=True)
class Value:
    """Mean of a figure and, over several seeds, its standard deviation."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class ListColumn:
    """A metric as a column of the store, which lists of runs sort and filter by.

    Attributes:
        name: name of the column in the database.
        word: name in filters and after `--sort`.
        head: heading in one line; empty if lists do not show the column.
        heads: heading in two lines.
        essential: whether narrow lists show it too.
    """

    name: str
    word: str
    head: str = ""
    heads: tuple[str, str] = ("", "")
    essential: bool = False


@dataclass(frozen=True)
class Metric:
    """A figure of a run. Two metrics are the same if they have the same key.

    Attributes:
        key: name in JSON and CSV.
        label: name in tables.
        value: function that returns the figure of a run, None if it has none; for a column of the store, the result
            does not depend on the config.
        table: table that shows it: the final table (evaluation split, all tokens) or the training table.
        way: way through the model whose PPL or bits per byte it is; None for early exit and other figures.
        block: block that it is about; None for the whole run.
        own_tokens: whether it is measured on the run's own hard tokens, so that two runs can't be compared.
    """

    key: str
    label: str = field(compare=False)
    unit: Unit = field(compare=False)
    better: Better = field(compare=False)
    value: Callable[[RunState, Config], float | None] = field(compare=False, repr=False)
    list_column: ListColumn | None = field(default=None, compare=False)
    table: Literal["final", "training"] = field(default="final", compare=False)
    way: Way | None = field(default=None, compare=False)
    block: int | None = field(default=None, compare=False)
    own_tokens: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class StageMetric:
    """A figure of a block's stages, or of the stage that trains all blocks together: one metric for each.

    Attributes:
        key, label: parts of the metrics' key and label that follow the block.
        value: function that returns the figure of a stage, None if it has none.
        list_column: column of the metric of block 0.
    """

    key: str
    label: str
    unit: Unit
    better: Better
    value: Callable[[StageState], float | None]
    list_column: ListColumn | None = None

    def at(self, block: int | None, *, frozen: bool = False) -> Metric:
        """Return the metric of a block; None: of all blocks together.

        Args:
            frozen: whether it is of a pretrained model, whose readouts learn from all tokens.
        """
        # later blocks train on their own run's hard tokens
        own_tokens = self.unit in ("ppl", "bits") and bool(block) and not frozen
        label = f"All blocks together: {self.label}" if block is None else f"Block {block} {self.label}"
        return Metric(
            key=f"{'together' if block is None else f'block{block}'}.{self.key}",
            label=f"{label} (own hard tokens)" if own_tokens else label,
            unit=self.unit,
            better=None if own_tokens else self.better,
            value=lambda state, _: self._last(state, block),
            list_column=self.list_column if block == 0 else None,
            table="training",
            block=block,
            own_tokens=own_tokens,
        )

    def _last(self, state: RunState, block: int | None) -> float | None:
        """Return the figure of the last stage that has one: an exit that needs the later blocks is set twice."""
        found = [self.value(stage) for stage in state.stages if stage.block == block]
        return next((value for value in reversed(found) if value is not None), None)


def way_ppl(way: Way, block: int | None = None) -> Metric:
    """Return the metric of a way through the model: its PPL on the evaluation split."""
    name = way_name(way, block)

    def ppl(state: RunState, _: Config) -> float | None:
        measured = state.measure(way, block)
        return None if measured is None else perplexity(measured.loss)

    return Metric(f"eval.{name}", f"{name.capitalize()}, PPL", "ppl", "lower", ppl, way=way, block=block)


def way_bits(way: Way, block: int | None = None) -> Metric:
    """Return the metric of a way through the model: its bits per byte of the evaluated text."""
    name = way_name(way, block)
    return Metric(
        f"eval.{name}.bits_per_byte", f"{name.capitalize()}, bits per byte", "bits", "lower",
        lambda state, _: measured_bits(state, state.measure(way, block)), way=way, block=block,
    )  # fmt: skip


def measured_bits(state: RunState, measured: Measured | None) -> float | None:
    """Return the bits per byte of a measured loss; None if the text or its number of bytes is not known."""
    if measured is None or measured.split != "eval":
        return None
    return bits_at(measured.loss, state.eval_bytes_per_token)


def _of_early_exit(figure: Callable[[Measured], float | None]) -> Callable[[RunState, Config], float | None]:
    return lambda state, _: None if state.final is None else figure(state.final)


def _of_savings(figure: Callable[[Savings], float | None]) -> Callable[[RunState, Config], float | None]:
    return lambda state, _: None if state.savings is None else figure(state.savings)


def _target(state: RunState, config: Config) -> float | None:
    if state.final is None:
        return None
    if state.priced:
        return sum(state.shares_as_set(len(state.final.exit_shares))[:-1])
    return target_shallow_ratio(config["protocol"], config["exit.hard_ratio"], len(state.final.exit_shares))


def _of_price(figure: Callable[[Priced], float]) -> Callable[[RunState, Config], float | None]:
    return lambda state, _: None if state.priced is None or state.final is None else figure(state.priced)


def _of_strided(figure: Callable[[Strided], float | None]) -> Callable[[RunState, Config], float | None]:
    """Return the PPL of a loss on overlapping windows."""

    def ppl(state: RunState, _: Config) -> float | None:
        loss = None if state.strided is None else figure(state.strided)
        return None if loss is None else perplexity(loss)

    return ppl


def _of_best_epoch(figure: Callable[[Epoch, StageState], float | None]) -> Callable[[StageState], float | None]:
    return lambda stage: None if stage.kind != "lm" or stage.best is None else figure(stage.best, stage)


def _of_fit(figure: Callable[[StageState], float | None]) -> Callable[[StageState], float | None]:
    """Return the value of a stage that fits an exit classifier from its first epoch on."""
    return lambda stage: figure(stage) if stage.history and stage.history[0].exit_loss is not None else None


def _of_threshold(figure: Callable[[Threshold], float]) -> Callable[[StageState], float | None]:
    return lambda stage: None if stage.threshold is None else figure(stage.threshold)


FINAL_PPL = Metric(
    "final_ppl", "Final PPL (early exit)", "ppl", "lower", _of_early_exit(lambda final: perplexity(final.loss)),
    ListColumn("final_ppl", "ppl", "Final eval PPL", ("Final PPL", "eval"), essential=True),
)  # fmt: skip
BITS_PER_BYTE = Metric(
    "bits_per_byte", "Bits per byte (early exit)", "bits", "lower",
    lambda state, _: measured_bits(state, state.final),
    ListColumn("bits_per_byte", "bits", "Bits/byte", ("Bits per", "byte")),
)  # fmt: skip
ACCURACY = Metric(
    "accuracy", "Accuracy", "share", "higher", _of_early_exit(lambda final: final.accuracy),
    ListColumn("accuracy", "accuracy", "Accuracy", ("Accuracy", "eval"), essential=True),
)  # fmt: skip
SHALLOW_RATIO = Metric(
    "shallow_ratio", "Shallow ratio (realised)", "share", None, _of_early_exit(lambda final: final.shallow_ratio),
    ListColumn("shallow_ratio", "shallow", "Shallow", ("Shallow", "ratio")),
)  # fmt: skip
SHALLOW_TARGET = Metric("shallow_target", "Shallow ratio (target)", "share", None, _target)
LAYER_SAVINGS = Metric(
    "layer_savings", "Layer savings", "share", "higher", _of_early_exit(lambda final: final.layer_savings),
    ListColumn("layer_savings", "savings", "Savings", ("Layer", "savings"), essential=True),
)  # fmt: skip
FLOP_SAVINGS = Metric(
    "flop_savings", "FLOP savings", "share", "higher", _of_savings(lambda saved: saved.flops),
    ListColumn("flop_savings", "flop_savings"),
)  # fmt: skip
TIME_SAVINGS = Metric(
    "time_savings", "Time savings (measured)", "share", "higher", _of_savings(lambda saved: saved.time),
    ListColumn("time_savings", "time_savings"),
)  # fmt: skip
TIME_LOW = Metric(
    "time_savings_low", "Time savings, 95% interval from", "share", None,
    _of_savings(lambda saved: saved.time_low if saved.covers else None),
)  # fmt: skip
TIME_HIGH = Metric(
    "time_savings_high", "Time savings, 95% interval to", "share", None,
    _of_savings(lambda saved: saved.time_high if saved.covers else None),
)  # fmt: skip
BREAK_EVEN = Metric(
    "break_even", "Exit rate at which FLOPs break even", "share", None, _of_savings(lambda saved: saved.break_even)
)
STRIDED_PPL = Metric(
    "strided_ppl", "With a stride: PPL (early exit)", "ppl", "lower", _of_strided(lambda found: found.early)
)
STRIDED_FULL_PPL = Metric(
    "strided_full_ppl", "With a stride: all blocks, PPL", "ppl", "lower", _of_strided(lambda found: found.full)
)
PRICE = Metric("price", "Price of the whole model's cost, nats", "loss", None, _of_price(lambda found: found.price))
PROMISED_SAVINGS = Metric(
    "promised_savings", "Savings at that price (calibration)", "share", None, _of_price(lambda found: found.savings)
)
PROMISED_EXCESS = Metric(
    "promised_excess", "Loss above all blocks at it, nats", "loss", None, _of_price(lambda found: found.excess)
)
FINAL = (
    FINAL_PPL, BITS_PER_BYTE, ACCURACY, SHALLOW_RATIO, SHALLOW_TARGET, PRICE, PROMISED_SAVINGS, PROMISED_EXCESS,
    LAYER_SAVINGS, FLOP_SAVINGS, TIME_SAVINGS, TIME_LOW, TIME_HIGH, BREAK_EVEN,
    STRIDED_PPL, STRIDED_FULL_PPL,
)  # fmt: skip
"""Rows of the final table; the other ways through the model follow them."""

VAL_PPL = StageMetric(
    "val_ppl", "early-stop PPL", "ppl", "lower",
    _of_best_epoch(lambda best, _: None if best.val_loss is None else perplexity(best.val_loss)),
    ListColumn("block0_val_ppl", "block0", "Block 0 early-stop PPL", ("Block 0 PPL", "early-stop")),
)  # fmt: skip
TRAIN_PPL = StageMetric(
    "train_ppl", "train PPL, same epoch", "ppl", None,
    _of_best_epoch(lambda best, _: None if best.loss is None else perplexity(best.loss)),
)  # fmt: skip
VAL_BITS = StageMetric(
    "val_bits_per_byte", "early-stop bits per byte", "bits", "lower",
    _of_best_epoch(lambda best, stage: stage.val_bits(best.val_loss)),
)  # fmt: skip
TRAIN_BITS = StageMetric(
    "train_bits_per_byte", "train bits per byte, same epoch", "bits", None,
    _of_best_epoch(lambda best, stage: None if best.loss is None else bits_at(best.loss, stage.bytes_per_token)),
)  # fmt: skip
BEST_EPOCH = StageMetric("best_epoch", "best epoch", "count", None, _of_best_epoch(lambda best, _: best.epoch))
EPOCHS = StageMetric(
    "epochs", "epochs trained", "count", None,
    lambda stage: len(stage.history) if stage.kind == "lm" and stage.best else None,
)  # fmt: skip
EXIT_LOSS_FIRST = StageMetric(
    "exit_loss_first", "exit loss, first epoch", "loss", None, _of_fit(lambda stage: stage.history[0].exit_loss)
)
EXIT_LOSS_LAST = StageMetric(
    "exit_loss_last", "exit loss, last epoch", "loss", None, _of_fit(lambda stage: stage.history[-1].exit_loss)
)
AVG_LABEL = StageMetric("avg_label", "avg_label", "signal", None, _of_fit(lambda stage: stage.avg_label))
THRESHOLD = StageMetric("threshold", "threshold", "signal", None, _of_threshold(lambda found: found.threshold))
HARD_TOKENS = StageMetric("hard_tokens", "hard tokens", "count", None, _of_threshold(lambda found: found.hard_tokens))
TRAINING = (
    VAL_PPL, VAL_BITS, TRAIN_PPL, TRAIN_BITS, BEST_EPOCH, EPOCHS,
    EXIT_LOSS_FIRST, EXIT_LOSS_LAST, AVG_LABEL, THRESHOLD, HARD_TOKENS,
)  # fmt: skip
"""Rows of the training table, for each block."""

STORED: tuple[tuple[ListColumn, Metric], ...] = tuple(
    (metric.list_column, metric)
    for metric in (*(row.at(0) for row in TRAINING), *FINAL)
    if metric.list_column is not None
)
"""Metrics that are columns of the store, in the order of lists."""


def run_metrics(state: RunState, config: Config) -> dict[Metric, float]:
    """Return every figure that a run has, in the order of the tables."""
    values = ((metric, metric.value(state, config)) for metric in _applicable(state, config))
    return {metric: value for metric, value in values if value is not None}


def _applicable(state: RunState, config: Config) -> Iterator[Metric]:
    yield from FINAL
    frozen = config.get("protocol") == "frozen"
    for found in state.measured:
        if found.way in WAYS:
            yield way_ppl(found.way, found.block)
            yield way_bits(found.way, found.block)
    for block in dict.fromkeys(stage.block for stage in state.stages):
        yield from (row.at(block, frozen=frozen) for row in TRAINING)


def value_of(values: Sequence[float]) -> Value:
    """Return the mean, and over several values the sample standard deviation; infinite values have none."""
    mean = statistics.fmean(values)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return Value(mean)
    return Value(mean, deviation(values, mean))


def best_of(values: Iterable[float], better: Better) -> float:
    """Return the lowest value where lower is better, else the highest."""
    return min(values) if better == "lower" else max(values)


def final_rows(found: Collection[Metric]) -> list[Metric]:
    """Return the metrics of the final table: early exit's, then PPL and bits of the other ways through the model."""
    ways = sorted(
        (metric for metric in found if metric.way), key=lambda metric: (metric.block or 0, metric.unit != "ppl")
    )
    return [metric for metric in FINAL if metric in found] + [
        metric for way in WAYS for metric in ways if metric.way == way
    ]


def training_rows(found: Collection[Metric]) -> list[Metric]:
    """Return the metrics of the training table: of all blocks together, then of each block in order."""
    own = {metric.key: metric for metric in found if metric.table == "training"}
    together_first = sorted({metric.block for metric in own.values()}, key=lambda block: -1 if block is None else block)
    keys = (row.at(block).key for block in together_first for row in TRAINING)
    return [own[key] for key in keys if key in own]
