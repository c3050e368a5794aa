"""The command that writes a finished run as files for other programs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import UsageError
from eetui.cli.options import Database, Reference, reading
from eetui.drawing.harmless import one_line


def export(
    reference: Reference,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the exits of a run on a pretrained model: weights (safetensors), config, model card.",
        ),
    ] = None,
    *,
    db: Database,
) -> None:
    """Write a finished run as files that are used without the database."""
    if adapter is None:
        raise UsageError("say what to export, and where to: --adapter DIR")
    from core.analysis.adapter import adapter_of, write_adapter
    from core.analysis.adapter_card import model_card

    with reading(db, exact=True) as reader:
        found = adapter_of(reader, reader.find(reference))
    write_adapter(found, adapter, model_card(found))
    print(
        one_line(
            f"wrote the exits of {found.settings['run']['name']} to {adapter}; README.md there says how to use them"
        ),
        file=sys.stderr,
    )
