"""Every metric stands wherever its row in the table says: tables, lists, filters, preview, details and exports."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.events import Event, RunFinished, Savings
from core.metrics import STORED, ListColumn, Metric, final_rows, run_metrics, training_rows
from core.state import RunState, reduce_all
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.compare.comparison import compare
from eetui.compare.run_view import stored_view
from eetui.compare.sheets import sheets
from eetui.compare.tables_text import as_csv, as_json, as_markdown
from eetui.drawing.figures import figure
from eetui.drawing.formats import markdown
from eetui.drawing.palette import Palette
from eetui.runs.export_text import runs_csv, runs_markdown
from eetui.runs.filters import parse
from eetui.runs.list_text import runs_json, runs_lines
from eetui.runs.preview_text import preview_line, run_preview
from eetui.runs.table_text import columns_for, head_lines
from eetui.summary.details_text import run_details, run_json
from tests.scripted_runs import add, scripted

CONFIG = {"protocol": "staged", "exit.hard_ratio": 0.5}
LISTED = [(column, metric) for column, metric in STORED if column.head]


def events() -> Iterator[Event]:
    """A run with its savings."""
    for event in scripted():
        if isinstance(event, RunFinished):
            yield Savings("evaluation", 0.125, 0.25, -0.0625, -0.125, 0.0, 64, 5)
        yield event


FIGURES = run_metrics(reduce_all(RunState(), events()), CONFIG)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Runs 1, which has all figures, and 2, which has none."""
    with Writer(tmp_path / "runs.db") as writer:
        add(writer, list(events()))
        add(writer, [])
    with Reader(tmp_path / "runs.db") as reader:
        yield reader


def printed(renderable: Any) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("metric", FIGURES, ids=lambda metric: metric.key)
def test_a_metric_is_in_the_comparison_in_every_format(metric: Metric, reader: Reader) -> None:
    comparison, value = compare([stored_view(reader, 1)]), FIGURES[metric]
    shown = next(sheet for sheet in sheets(comparison) if sheet.title.lower().startswith(metric.table))
    assert (metric.label, figure(value, metric.unit)) in shown.rows
    assert f"| {markdown(metric.label)} | {figure(value, metric.unit)} |" in as_markdown(comparison)
    lines = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [float(line["mean"]) for line in lines if line["metric"] == metric.key] == [value]
    (row,) = (row for row in json.loads(as_json(comparison))[metric.table] if row["metric"] == metric.key)
    assert (row["label"], row["unit"], row["values"][0]["mean"]) == (metric.label, metric.unit, value)


@pytest.mark.parametrize("metric", FIGURES, ids=lambda metric: metric.key)
def test_a_metric_is_in_the_details_of_a_run(metric: Metric, reader: Reader) -> None:
    row, state = reader.run(1), reader.state(1)
    line = next(line for line in printed(run_details(row, state)).splitlines() if line.startswith(f"{metric.label}  "))
    assert line.removeprefix(metric.label).split() == [figure(FIGURES[metric], metric.unit)]
    assert json.loads(run_json(row, state))["metrics"][metric.key] == FIGURES[metric]


@pytest.mark.parametrize("metric", final_rows(FIGURES), ids=lambda metric: metric.key)
def test_a_metric_of_the_final_table_is_in_the_preview(metric: Metric, reader: Reader) -> None:
    preview = printed(run_preview(reader.run(1), reader.state(1), Palette(), 70))
    line = next(line for line in preview.splitlines() if line.startswith(f"{metric.label}  "))
    assert line.removeprefix(metric.label).split() == [figure(FIGURES[metric], metric.unit)]


@pytest.mark.parametrize(("column", "metric"), STORED)
def test_a_stored_metric_sorts_filters_and_is_exported(column: ListColumn, metric: Metric, reader: Reader) -> None:
    value = FIGURES[metric]
    assert [row["id"] for row in reader.runs(parse([f"{column.word}>{value - 1e-6}"]))] == [1]
    assert reader.runs(parse([f"{column.word}>{value + 1e-6}"])) == []
    assert [row["id"] for row in reader.runs(parse([], column.word))] == [1, 2]
    rows = reader.runs()
    (line, _) = csv.DictReader(io.StringIO(runs_csv(rows)))
    assert float(line[column.name]) == value
    assert json.loads(runs_json(rows))[0][column.name] == value


@pytest.mark.parametrize(("column", "metric"), LISTED)
def test_a_listed_metric_has_its_head_and_figure_in_every_list(
    column: ListColumn, metric: Metric, reader: Reader
) -> None:
    rows, text = reader.runs(), figure(FIGURES[metric], metric.unit)
    head, _, line, *_ = runs_lines(rows, 200, colour=False)
    end = head.index(f" {column.head}  ") + len(column.head) + 1
    assert line[:end].split()[-1] == text
    narrow, _, line, *_ = runs_lines(rows, 80, colour=False)
    assert (column.head in narrow) == (text in line) == column.essential
    first, _, line, *_ = runs_markdown(rows).splitlines()
    assert line.split(" | ")[first.split(" | ").index(column.head)] == text
    wide = columns_for(200)
    assert column.name in [shown.key for shown in wide]
    upper, lower = (text.plain for text in head_lines(wide, column.name, False, Palette()))
    assert column.heads[0] in upper
    assert f"{column.heads[1]}▲" in lower
    left_out = preview_line({**rows[0], "tags": None}, 200, Palette(), "").plain
    assert (text in left_out) == (not column.essential)


def test_the_sample_has_metrics_of_every_table() -> None:
    assert final_rows(FIGURES)
    assert {metric.block for metric in training_rows(FIGURES)} == {0, 1}
