"""A run as comparisons see it: its figures by key, and what they can be held against."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import core.config
from core.config.derived import target_shallow_ratio
from core.config.dotted_names import flatten
from core.exits._facts import run_facts
from core.formulas import perplexity
from core.state import RunState
from core.store.reader import Reader

TOGETHER = "together"
"""In keys of metrics the place of a block, where all blocks were trained at once."""


@dataclass(frozen=True)
class RunView:
    """What a comparison needs of a run.

    Attributes:
        reads_head: whether its exit signal reads the output head, at its full cost.
        fingerprint: of the tokens it was trained and evaluated on; figures of different ones can't be ranked.
        config: by dotted names.
        metrics: by the keys of `FINAL_ROWS` and of the training table.
        window_losses: early exit's mean loss of each evaluation window, in nats.
        curves: of each block, the loss in nats on the early-stopping split after every epoch.
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
    curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    reads_head: bool = False


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
        metrics=run_metrics(state, str(config["protocol"]), float(config["exit.hard_ratio"])),
        window_losses=window_losses,
        warnings=state.warnings,
        curves={
            stage.block: tuple(epoch.val_loss for epoch in stage.history if epoch.val_loss is not None)
            for stage in state.stages
            if stage.kind == "lm" and stage.block is not None
        },
        reads_head=run_facts(row).reads_head,
    )


def stored_view(reader: Reader, run: int) -> RunView:
    """A run of the store as a comparison sees it.

    Raises:
        RunLookupError: there is none of that number.
    """
    row = reader.run(run)
    config = {"preset": row["preset"], **report_config(), "machine.head_dtype": "same", **flatten(row["config"])}
    config["method"] = run_facts(row).label
    return view(row, reader.state(run), reader.window_losses(run, "early exit"), config)


@cache
def report_config() -> Mapping[str, Any]:
    """The seed preset, which is the report's configuration, and what newer fields were before they could be chosen.

    By dotted names; read without pydantic.
    """
    preset = Path(core.config.__path__[0]) / "presets" / "seed.toml"
    return flatten(tomllib.loads(preset.read_text(encoding="utf-8")))


def run_metrics(state: RunState, protocol: str, hard_ratio: float) -> dict[str, float]:
    """Every figure of a run by its key."""
    metrics: dict[str, float] = {}
    if state.final:
        metrics |= {
            "final_ppl": perplexity(state.final.loss),
            "accuracy": state.final.accuracy,
            "shallow_ratio": state.final.shallow_ratio,
            "layer_savings": state.final.layer_savings,
        }
        target = target_shallow_ratio(protocol, hard_ratio, len(state.final.exit_shares))
        metrics |= {} if target is None else {"shallow_target": target}
    if state.savings:
        saved = {
            "flop_savings": state.savings.flops,
            "time_savings": state.savings.time,
            "break_even": state.savings.break_even,
        }
        metrics |= {key: value for key, value in saved.items() if value is not None}
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
        part = TOGETHER if stage.block is None else f"block{stage.block}"
        metrics |= {f"{part}.{key}": value for key, value in found.items() if value is not None}
    return metrics
