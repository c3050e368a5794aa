"""The curves of a stage, as data for its charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.events import Epoch
from core.state import StageState
from eetui.drawing.axes import LINEAR, PPL, Axis
from eetui.drawing.series import Curve, Series, smooth, span_for
from eetui.live.text import token_set

BEST = "★"
Siblings = Mapping[str, StageState]
"""The same stage of other runs, by their names."""


@dataclass(frozen=True)
class StageChart:
    """One chart of a stage, over its epochs."""

    title: str
    y_axis: Axis
    series: tuple[Series, ...]


def stage_charts(stage: StageState, curve: Curve | None, siblings: Siblings, *, as_ppl: bool) -> tuple[StageChart, ...]:
    """Return one or two charts, none for a stage without curves; `curve` holds the training loss of its steps."""
    joint = bool(stage.history) and stage.history[0].exit_loss is not None
    if stage.kind == "lm":
        loss = _language_model(stage, curve, siblings, as_ppl)
        return (loss, _exit_loss(stage, None, siblings)) if joint else (loss,)
    if stage.kind == "exit classifier":
        return _exit_loss(stage, curve, siblings), _average_label(stage, siblings)
    return ()


def _language_model(stage: StageState, curve: Curve | None, siblings: Siblings, as_ppl: bool) -> StageChart:
    series = [
        *_behind(siblings, "val_loss"),
        *_training(stage, curve),
        Series("early-stop", *_by_epoch(stage.history, "val_loss"), hue=1, style="marked"),
    ]
    if stage.best is not None and stage.best.val_loss is not None:
        best = stage.best
        series.append(Series(f"best, epoch {best.epoch}", [best.epoch], [best.val_loss or 0.0], 1, "scatter", BEST))
    title = "PPL" if as_ppl else "loss in nats"
    return StageChart(f"{title}, {token_set(stage)} tokens", PPL if as_ppl else LINEAR, tuple(series))


def _training(stage: StageState, curve: Curve | None) -> Iterator[Series]:
    """Yield the smoothed training loss and the range of its steps behind it; without steps, the loss by epoch."""
    if curve is None:
        yield Series("train", *_by_epoch(stage.history, "loss"), hue=0)
        return
    yield Series("", *curve.ranges(), hue=0, style="faint")
    x, means = curve.means()
    yield Series("train", x, smooth(means, span_for(len(means))), hue=0)


def _exit_loss(stage: StageState, curve: Curve | None, siblings: Siblings) -> StageChart:
    series = list(_behind(siblings, "exit_loss"))
    if curve is not None:
        series.append(Series("", *curve.ranges(), hue=2, style="faint"))
    series.append(Series("exit loss", *_by_epoch(stage.history, "exit_loss"), hue=2, style="marked"))
    return StageChart("exit classifier's loss", LINEAR, tuple(series))


def _average_label(stage: StageState, siblings: Siblings) -> StageChart:
    own = Series("avg_label", *_by_epoch(stage.history, "avg_label"), hue=3, style="marked")
    return StageChart("mean exit label", LINEAR, (*_behind(siblings, "avg_label"), own))


def _behind(siblings: Siblings, figure: str) -> Iterator[Series]:
    for index, (name, stage) in enumerate(siblings.items()):
        yield Series(name, *_by_epoch(stage.history, figure), hue=2 + index % 4, style="behind")


def _by_epoch(history: Sequence[Epoch], figure: str) -> tuple[list[float], list[float]]:
    found = [(epoch.epoch, getattr(epoch, figure)) for epoch in history]
    return [float(x) for x, y in found if y is not None], [y for _, y in found if y is not None]
