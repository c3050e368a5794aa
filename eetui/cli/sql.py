"""The command that asks the database in SQL."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from eetui.cli.choices import CHOICES, listed
from eetui.cli.options import AsJson, Database, print_data
from eetui.cli.options import output as console
from eetui.drawing.formats import require_format

if TYPE_CHECKING:
    from core.store.sql import SqlReader

DRAWN = ("table", "md")
"""Formats that hold all rows at once, and so only the first ones."""


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(metavar="[STATEMENT]", help="One that reads; - reads it from standard input. [default: a list]"),
    ] = None,
    output: Annotated[str, typer.Option("--format", help=f"{listed(CHOICES['sql --format'])}.")] = "table",
    limit: Annotated[int, typer.Option(min=1, help="Most rows of a table; csv and json have all.")] = 500,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the statement may take.")] = 60.0,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Ask the database in SQL, read only; without a statement, list its tables and ready views."""
    from core.store.sql import SqlReader

    output = "json" if as_json else output
    require_format(output, CHOICES["sql --format"])
    if statement == "-":
        statement = sys.stdin.buffer.read().decode(errors="replace")
    with SqlReader(db, timeout) as reader:
        _print(reader, _list() if statement is None else statement, output, limit)


def _print(reader: "SqlReader", statement: str, output: str, limit: int) -> None:
    from eetui.cli import sql_text

    answer = reader.ask(statement)
    if output in DRAWN:
        rows, more = sql_text.first_rows(answer.rows, limit)
        if output == "md":
            print_data(sql_text.as_markdown(answer.columns, rows))
        else:
            console().print(sql_text.as_table(answer.columns, rows))
        if more:
            print(f"only the first {limit:,} rows: raise --limit, or take --format csv", file=sys.stderr)
        return
    parts = sql_text.csv_parts if output == "csv" else sql_text.json_parts
    for part in parts(answer):
        print_data(part, end="")


def _list() -> str:
    """Return a statement that lists views and tables with their columns."""
    from core.store.views import MEANINGS

    views = " ".join(f"WHEN '{name}' THEN '{meaning}'" for name, meaning in MEANINGS.items())
    return f"""
        SELECT name, CASE name {views} ELSE 'table' END AS "what it is",
            (SELECT group_concat(name, ', ') FROM pragma_table_info(found.name)) AS columns
        FROM (
            SELECT name, 0 AS place FROM sqlite_temp_master WHERE type = 'view' AND name NOT IN ('runs', 'binned')
            UNION SELECT name, 1 FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'
        ) AS found ORDER BY place, name"""
