"""Summary of a run, beside or below the list."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.config.stored import completed
from core.metrics import final_rows, run_metrics
from core.state import RunState, StageState
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.harmless import lines
from eetui.drawing.palette import Palette
from eetui.drawing.sparklines import sparkline
from eetui.runs.list_text import LISTED
from eetui.runs.standing import Standing
from eetui.runs.table_text import status_cell
from eetui.summary.progress import progress

SIDE_BY_SIDE = 76
"""Width from which figures and curves stand side by side."""
SPARK_WIDTH = 16


def run_preview(row: Mapping[str, Any], state: RunState, style: Palette, width: int) -> RenderableType:
    """Draw status, figures, curves, tags, notes and warnings of a run from `Reader.run` and `Reader.state`."""
    head = Group(*_head(row, state, style, width))
    figures = _figures(row, state)
    frozen = completed(row["config"])["protocol"] == "frozen"
    curves = Group(*_curves(state, style, width, frozen=frozen))
    remarks = Group(*_remarks(row, state, style))
    if width < SIDE_BY_SIDE:
        parts = (head, figures, curves, remarks)
        return Group(*(line for part in parts for line in (part, Text())))
    grid = Table.grid(padding=(0, 3, 0, 0), expand=True)
    grid.add_column(width=min(46, width // 2))
    grid.add_column(ratio=1)
    grid.add_row(Group(head, figures), Group(curves, remarks))
    return grid


def preview_line(row: Mapping[str, Any] | None, width: int, style: Palette, hint: str) -> Text:
    """Write what a narrow list leaves out of the run under the cursor, and at the right the key that shows more."""
    line = Text(no_wrap=True)
    available = max(0, width - len(hint) - 1)
    if row is None:
        return line.append(fitted("", available + 1)).append(hint, style.quiet)
    facts = [str(row["method"]), f"seed {row['seed']}"]
    if row["error"]:
        facts.append(str(row["error"]).splitlines()[0])
    else:
        left_out = [(column, metric.unit) for column, metric in LISTED if not column.essential]
        facts += [
            f"{column.head[0].lower()}{column.head[1:]} {figure(row[column.name], unit)}" for column, unit in left_out
        ]
    if row["tags"]:
        facts.append(f"tags {row['tags']}")
    while len(facts) > 3 and cell_len(" · ".join(facts)) > available:
        facts.pop()
    return line.append(fitted(" · ".join(facts), available) + " ").append(hint, style.quiet)


def _head(row: Mapping[str, Any], state: RunState, style: Palette, width: int) -> Iterator[Text]:
    yield Text(str(row["name"]), style="bold", overflow="ellipsis", no_wrap=True)
    yield Text(f"run {row['id']}, experiment {row['experiment']}: {row['method']}, seed {row['seed']}")
    status = status_cell(str(row["status"]), Standing(), 14, style)
    if row["status"] == "running":
        share = progress(state)
        status.append_text(bar(share, min(16, max(4, width - 24)), style.live, style.quiet)).append(f" {share:.0%}")
    yield status
    if row["error"]:
        yield Text(str(row["error"]), style=style.of_status(str(row["status"])))


def _figures(row: Mapping[str, Any], state: RunState) -> RenderableType:
    metrics = run_metrics(state, completed(row["config"]))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for metric in final_rows(metrics):
        table.add_row(Text(metric.label), figure(metrics[metric], metric.unit))
    if not table.row_count:
        return Text("no evaluation yet", style="dim")
    return Group(Text("Evaluation split, all tokens", style="bold"), table)


def _curves(state: RunState, style: Palette, width: int, *, frozen: bool) -> Iterator[RenderableType]:
    """Yield the early-stopping PPL of each epoch, block by block; the curves are of losses, so on a log scale."""
    stages = [stage for stage in state.stages if stage.kind == "lm" and stage.history]
    if stages:
        yield Text("Early-stop PPL by epoch, log scale", style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        for stage in stages:
            curve = Text(sparkline(_losses(stage), min(SPARK_WIDTH, max(4, width - 30))), style=style.live)
            name = "all blocks" if stage.block is None else f"block {stage.block}"
            table.add_row(name, curve, Text(f"{_best(stage)}, {_epochs(stage)}"))
        yield table
        if len(stages) > 1 and not frozen:
            yield Text("later blocks: on their own hard tokens", style="dim")


def _losses(stage: StageState) -> list[float]:
    return [epoch.val_loss for epoch in stage.history if epoch.val_loss is not None]


def _best(stage: StageState) -> str:
    return MISSING if stage.val_ppl is None else figure(stage.val_ppl, "ppl")


def _epochs(stage: StageState) -> str:
    best = stage.best.epoch if stage.best else 0
    return f"epoch {best} of {len(stage.history)}"


def _remarks(row: Mapping[str, Any], state: RunState, style: Palette) -> Iterator[Text]:
    if row["tags"]:
        yield Text.assemble("tags ", (" ".join(row["tags"]), style.accent))
    for note in row["notes"]:
        yield Text(f"note: {note['text']}")
    for warning in state.warnings:
        yield Text(f"! {lines(warning)}", style=style.caution)
