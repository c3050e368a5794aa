"""A run as comparisons see it: its figures, and the data that makes them comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.config.stored import completed
from core.exits._facts import run_facts
from core.metrics import Metric, run_metrics
from core.state import RunState
from core.store.reader import Reader


@dataclass(frozen=True)
class RunView:
    """Values of a run that a comparison needs.

    Attributes:
        reads_head: whether its exit signal reads the output head, at its full cost.
        fingerprint: fingerprint of its training and evaluation tokens; figures of different ones can't be ranked.
        config: config by dotted names.
        window_losses: early exit's mean loss of each evaluation window, in nats.
        curves: for each block, the loss in nats on the early-stopping split after every epoch.
    """

    name: str
    method: str
    seed: int
    status: str
    fingerprint: str
    corpus: str
    config: Mapping[str, Any]
    metrics: Mapping[Metric, float]
    window_losses: Sequence[float] = ()
    warnings: tuple[str, ...] = ()
    curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    reads_head: bool = False

    @property
    def block_layers(self) -> tuple[int, ...]:
        """Layers of each block."""
        return tuple(self.config["model.block_layers"])


def view(row: Mapping[str, Any], state: RunState, window_losses: Sequence[float], config: Mapping[str, Any]) -> RunView:
    """Return the view of a stored run; `config` by dotted names."""
    return RunView(
        name=row["name"],
        method=row["method"],
        seed=row["seed"],
        status=row["status"],
        fingerprint=row["record"]["fingerprint"],
        corpus=f"{row['record']['corpus']}, {row['record']['tokenizer']}, vocabulary {row['record']['vocab_size']:,}",
        config=config,
        metrics=run_metrics(state, config),
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
    """Return the view of a run of the store.

    Raises:
        RunLookupError: there is no run of that number.
    """
    row = reader.run(run)
    config = {"preset": row["preset"], **completed(row["config"]), "method": run_facts(row).label}
    return view(row, reader.state(run), reader.window_losses(run, "early exit"), config)
