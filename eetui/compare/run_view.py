"""A run as comparisons see it: its figures, and the data that makes them comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.config.stored import told
from core.exits._facts import run_facts
from core.intervals import Interval
from core.metrics import (
    ACCURACY,
    BITS_PER_BYTE,
    FINAL_PPL,
    FLOP_SAVINGS,
    LAYER_SAVINGS,
    TIME_SAVINGS,
    Metric,
    run_metrics,
    way_bits,
    way_ppl,
)
from core.state import RunState
from core.store.reader import Reader

TOGETHER = -1
"""Instead of a block's number, the key of the curve of all blocks that are trained together."""


@dataclass(frozen=True)
class RunView:
    """Values of a run that a comparison needs.

    Attributes:
        reads_head: whether its exit signal reads the output head, at its full cost.
        fingerprint: identity of its evaluation windows: their tokens, length and number. Figures of different ones
            can't be compared.
        config: config by dotted names.
        windows: values of metrics in each evaluation window, in order; of PPLs and bits the mean loss in nats.
        intervals: intervals of metrics that were measured in rounds.
        curves: for each block, the loss in nats on the early-stopping split by epoch, from 1.
    """

    name: str
    method: str
    seed: int
    status: str
    fingerprint: str
    corpus: str
    config: Mapping[str, Any]
    metrics: Mapping[Metric, float]
    windows: Mapping[Metric, Sequence[float]] = field(default_factory=dict)
    intervals: Mapping[Metric, Interval] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    curves: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    reads_head: bool = False
    training_windows: str = ""
    """Identity of the windows that it was trained, stopped and calibrated on."""

    @property
    def skips(self) -> bool:
        """Whether layers are skipped: with exited state `input` every token runs through all of them."""
        return bool(self.config.get("exit.exited_state") != "input")

    @property
    def block_layers(self) -> tuple[int, ...]:
        """Layers of each block."""
        return tuple(self.config["model.block_layers"])


def view(
    row: Mapping[str, Any],
    state: RunState,
    figures: Mapping[str, Mapping[str, Sequence[float]]],
    config: Mapping[str, Any],
) -> RunView:
    """Return the view of a stored run.

    Args:
        figures: figures of its windows (`Reader.window_figures`).
        config: config by dotted names.
    """
    started, width, record = state.started, config["data.seq_len"], row["record"]
    windows = ""
    if started is not None and width:  # a loop that logs its run tells of no windows
        windows = f", {started.eval_tokens // width:,} windows of {width}"
    windows += ", each begun anew" if config.get("data.bos_token") else ""
    return RunView(
        name=row["name"],
        method=row["method"],
        seed=row["seed"],
        status=row["status"],
        fingerprint=f"{record['fingerprint']}{windows}",
        corpus=_corpus(record) + windows,
        config=config,
        metrics=run_metrics(state, config),
        windows=_windows(state, figures),
        intervals=_intervals(state),
        warnings=state.warnings,
        curves=_curves(state),
        reads_head=run_facts(row).reads_head,
        training_windows=_training_windows(record["fingerprint"], state, config),
    )


def curve_name(block: int) -> str:
    """Name the curve of a block, or of all blocks that were trained together."""
    return "all blocks together" if block == TOGETHER else f"block {block}"


def _curves(state: RunState) -> dict[int, dict[int, float]]:
    """Return the loss on the early-stopping split by epoch, nats, of each block that was trained with it."""
    found = dict[int, dict[int, float]]()
    for stage in state.stages:
        losses, last = dict[int, float](), 0
        for epoch in stage.history:
            last = max(last + 1, epoch.epoch)  # somebody else's loop may tell of some epochs only, or not count them
            if epoch.val_loss is not None:
                losses[last] = epoch.val_loss
        if stage.kind == "lm" and losses:
            found[TOGETHER if stage.block is None else stage.block] = losses
    return found


def _corpus(record: Mapping[str, Any]) -> str:
    """Name a run's text, and as far as they are known its tokens."""
    known = f", {record['tokenizer']}, vocabulary {record['vocab_size']:,}" if record["vocab_size"] else ""
    return f"{record['corpus']}{known}"


def _windows(state: RunState, figures: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[Metric, Sequence[float]]:
    """Return the values of metrics in each window, as far as they are kept."""
    found: dict[Metric, Sequence[float]] = {}
    for measured in state.measured:
        kept = figures.get(measured.name, {})
        if measured.split == "eval" and measured.way == "early exit":
            columns = {
                FINAL_PPL: "window_losses", BITS_PER_BYTE: "window_losses", ACCURACY: "window_accuracies",
                LAYER_SAVINGS: "window_savings", FLOP_SAVINGS: "window_flop_savings",
            }  # fmt: skip
            found |= {metric: kept[column] for metric, column in columns.items() if column in kept}
        elif measured.split == "eval" and "window_losses" in kept:
            ways = (way_ppl(measured.way, measured.block), way_bits(measured.way, measured.block))
            found |= dict.fromkeys(ways, kept["window_losses"])
    return found


def _intervals(state: RunState) -> dict[Metric, Interval]:
    saved = state.savings
    if saved is None or saved.time is None or saved.time_low is None or saved.time_high is None or not saved.covers:
        return {}
    return {TIME_SAVINGS: Interval(saved.time_low, saved.time, saved.time_high, "rounds")}


def _training_windows(fingerprint: str, state: RunState, config: Mapping[str, Any]) -> str:
    """Return the identity of a run's training windows: their tokens, length and number, and how they are split."""
    keys = ["data.seq_len", "train.split", "train.val_ratio", "exit.calibration"]
    if config["exit.calibration"] == "heldout":
        keys.append("exit.calibration_ratio")
    tokens = state.started.train_tokens if state.started else None
    return " ".join(map(str, (fingerprint, tokens, *(config[key] for key in keys))))


def stored_view(reader: Reader, run: int) -> RunView:
    """Return the view of a run of the store.

    Raises:
        RunLookupError: there is no run of that number.
    """
    row = reader.run(run)
    config = {"preset": row["preset"], **told(row), "method": run_facts(row).label}
    return view(row, reader.state(run), reader.window_figures(run), config)
