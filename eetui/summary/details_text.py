"""A single run as Rich tables or JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.config.dotted_names import flatten
from core.config.stored import completed
from core.exits._facts import run_facts
from core.metrics import Metric, final_rows, run_metrics, training_rows
from core.state import RunState
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.formats import json_text
from eetui.drawing.harmless import LONGEST_LINE, lines, one_line
from eetui.drawing.status import STATUS_STYLES, STATUS_WORDS
from eetui.summary.priced_text import priced_facts
from eetui.summary.profile import is_profiled, profile_object
from eetui.summary.profile_text import profile_tables


def status_text(status: str) -> Text:
    """Write a status as sign and word, so that colour is never the only difference."""
    return Text(STATUS_WORDS[status], style=STATUS_STYLES[status][1])


def run_details(row: Mapping[str, Any], state: RunState) -> RenderableType:
    """Show everything about a run in sections: results, training, profile, config, record, warnings, notes."""
    config = {**flatten(row["config"]), "method": run_facts(row).label}
    metrics = run_metrics(state, completed(row["config"]))
    head = Text.assemble((str(row["name"]), "bold"), f"  run {row['id']}, experiment {row['experiment']}  ")
    head.append_text(status_text(row["status"]))
    parts: list[RenderableType] = [head]
    if row["error"]:
        parts.append(Text(str(row["error"]), style="red" if row["status"] == "failed" else "yellow"))
    if state.traceback:
        parts.append(Text(lines(state.traceback), style="dim"))
    parts.append(_pairs("Results (evaluation split, all tokens)", _figures(final_rows(metrics), metrics)))
    if state.priced is not None:
        parts.append(_pairs("One price set the thresholds of all exits", dict(priced_facts(state))))
    parts.append(_pairs("Training", _figures(training_rows(metrics), metrics)))
    if is_profiled(state):
        parts += [Text("Profile", style="bold"), profile_tables(state)]
    parts.append(_pairs("Config", {key: str(value) for key, value in config.items()}))
    parts.append(_pairs("Record", _record(row)))
    parts += [Text(f"! {lines(warning)}", style="yellow") for warning in state.warnings]
    parts += [Text(f"note: {note['text']}") for note in row["notes"]]
    return Group(*parts)


def run_json(row: Mapping[str, Any], state: RunState) -> str:
    """Write the row of a run, its metrics, warnings and profile as JSON."""
    metrics = {metric.key: value for metric, value in run_metrics(state, completed(row["config"])).items()}
    shown = {**row, "metrics": metrics, "warnings": state.warnings, "profile": profile_object(state)}
    if state.priced is not None:
        shown["priced"] = asdict(state.priced)
    return json_text(shown)


def _figures(rows: Sequence[Metric], metrics: Mapping[Metric, float]) -> dict[str, str]:
    return {metric.label: figure(metrics[metric], metric.unit) for metric in rows}


def _record(row: Mapping[str, Any]) -> dict[str, str]:
    shown = {key: _shown(value) for key, value in row["record"].items()}
    times = {key: _time(row[key]) for key in ("created", "started", "ended")}
    return times | shown | {"tags": " ".join(row["tags"]) or MISSING}


def _shown(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _time(seconds: float | None) -> str:
    return MISSING if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _pairs(title: str, pairs: Mapping[str, str]) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in pairs.items():
        table.add_row(Text(one_line(key)), Text(one_line(value, LONGEST_LINE)))
    return table
