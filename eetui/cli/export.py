"""The command that writes runs as files for other programs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.choices import TRACKERS, listed
from eetui.cli.options import Database, reading
from eetui.cli.selection import selected
from eetui.drawing.figures import number_of
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from core.store.reader import Reader


def export(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Numbers, names, unique prefixes; or a filter as in ls."),
    ],
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the exits of a run on a pretrained model: weights (safetensors), config, model card.",
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every evaluated token's figures at each block, .parquet or .csv."),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The log with every step, .parquet or .csv.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TRACKER", help=f"{listed(TRACKERS)}, offline.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="The tracker's folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an adapter that is there.")] = False,
    *,
    db: Database,
) -> None:
    """Write runs as files that are used without the database."""
    from eetui.exports.files import writer_of

    if adapter is None and tokens is None and events is None and to is None:
        raise UsageError(
            "say what to export, and where to: --tokens FILE, --events FILE, --adapter DIR or --to TRACKER --output DIR"
        )
    if (to is None) != (output is None):
        raise UsageError("--to TRACKER and --output DIR go together")
    if tokens is not None and events is not None and tokens.resolve() == events.resolve():
        raise UsageError(f"--tokens and --events are both {tokens}, and one would replace the other: name two files")
    if force and adapter is None:
        raise UsageError("--force is for --adapter: add that, or leave it out")
    for path in (tokens, events):
        if path is not None:
            writer_of(path)
    with reading(db, exact=True) as reader:
        numbers = [row["id"] for row in reader.runs(selected(reader, runs), ("id",))]
        if not numbers:
            raise UsageError(f"no run matches {' '.join(runs)!r}: eetui ls lists what there is")
        if adapter is not None:
            _write_adapter(reader, numbers, adapter, force=force)
        if tokens is not None:
            _write_tokens(reader, numbers, tokens)
        if events is not None:
            _write_events(reader, numbers, events)
        if to is not None and output is not None:
            _write_tracker(reader, numbers, to, output)


def _write_adapter(reader: "Reader", numbers: Sequence[int], folder: Path, *, force: bool) -> None:
    from core.analysis.adapter import adapter_of, require_folder, write_adapter
    from core.analysis.adapter_card import model_card

    if len(numbers) > 1:
        raise UsageError(f"--adapter takes one run, and these are {len(numbers)}: name one")
    replaces = require_folder(folder, force=force)
    found = adapter_of(reader, numbers[0])
    write_adapter(found, folder, model_card(found), force=force)
    instead = ", in place of those that were there" if replaces else ""
    _say(f"wrote the exits of {found.settings['run']['name']} to {folder}{instead}; README.md says how to use them")


def _write_tokens(reader: "Reader", numbers: list[int], path: Path) -> None:
    from eetui.exports.about import about_runs
    from eetui.exports.files import write_table
    from eetui.exports.schema import TOKENS
    from eetui.exports.tokens import token_chunks

    about = {"eetui.runs": about_runs(reader, numbers)}
    rows = write_table(path, TOKENS, token_chunks(reader, numbers), about)
    _say(f"wrote {rows:,} rows, one a token and block, to {path}")


def _write_events(reader: "Reader", numbers: list[int], path: Path) -> None:
    from eetui.exports.about import about_runs
    from eetui.exports.events import event_chunks
    from eetui.exports.files import write_table
    from eetui.exports.schema import EVENTS

    about = {"eetui.runs": about_runs(reader, numbers)}
    rows = write_table(path, EVENTS, event_chunks(reader, numbers), about)
    _say(f"wrote {rows:,} events to {path}")


def _write_tracker(reader: "Reader", numbers: Sequence[int], name: str, folder: Path) -> None:
    from eetui.trackers.contract import SHOWN_BY
    from eetui.trackers.exported import export_to

    export_to(name, folder, reader, numbers)
    _say(f"wrote {number_of(len(numbers), 'run')} to {folder}; to look: {SHOWN_BY[name].format(folder)}")


def _say(text: str) -> None:
    print(one_line(text), file=sys.stderr)
