"""A single run, as Rich tables or JSON."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.config.dotted_names import flatten
from core.exits._facts import run_facts
from core.state import RunState
from eetui.compare.comparison import FINAL_ROWS, training_rows
from eetui.compare.run_view import run_metrics
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.status import STATUS_STYLES, STATUS_WORDS
from eetui.summary.profile import is_profiled, profile_object
from eetui.summary.profile_text import profile_tables


def status_text(status: str) -> Text:
    """A sign and the word, so that colour is never the only difference."""
    return Text(STATUS_WORDS[status], style=STATUS_STYLES[status][1])


def run_details(row: Mapping[str, Any], state: RunState) -> RenderableType:
    """Everything of a run, in sections."""
    config = {**flatten(row["config"]), "method": run_facts(row).label}
    metrics = run_metrics(state, str(config.get("protocol", "staged")), float(config["exit.hard_ratio"]))
    head = Text.assemble((str(row["name"]), "bold"), f"  run {row['id']}, experiment {row['experiment']}  ")
    head.append_text(status_text(row["status"]))
    parts: list[RenderableType] = [head]
    if row["error"]:
        parts.append(Text(str(row["error"]), style="red" if row["status"] == "failed" else "yellow"))
    if state.traceback:
        parts.append(Text(state.traceback, style="dim"))
    parts.append(_pairs("Results (evaluation split, all tokens)", _results(metrics)))
    parts.append(_pairs("Training", _training(metrics)))
    if is_profiled(state):
        parts += [Text("Profile", style="bold"), profile_tables(state)]
    parts.append(_pairs("Config", {key: str(value) for key, value in config.items()}))
    parts.append(_pairs("Record", _record(row)))
    parts += [Text(f"! {warning}", style="yellow") for warning in state.warnings]
    parts += [Text(f"note: {note['text']}") for note in row["notes"]]
    return Group(*parts)


def run_json(row: Mapping[str, Any], state: RunState) -> str:
    """The row, and every metric of it."""
    metrics = run_metrics(state, row["config"].get("protocol", "staged"), float(row["config"]["exit"]["hard_ratio"]))
    shown = {**row, "metrics": metrics, "warnings": state.warnings, "profile": profile_object(state)}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _results(metrics: Mapping[str, float]) -> dict[str, str]:
    shown = {label: figure(metrics[key], unit) for key, label, unit, _ in FINAL_ROWS if key in metrics}
    return shown | {
        f"{key.removeprefix('eval.')}, PPL": figure(value, "ppl")
        for key, value in metrics.items()
        if key.startswith("eval.")
    }


def _training(metrics: Mapping[str, float]) -> dict[str, str]:
    rows = training_rows(metrics)
    return {label[0].lower() + label[1:]: figure(metrics[key], unit) for key, label, unit, _ in rows}


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
        table.add_row(key, Text(value))
    return table
