"""The command that writes a page about an experiment or a few runs: report."""

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from core.errors import UsageError
from eetui.cli.choices import CHOICES
from eetui.cli.options import Database, Force, Runs, on_database
from eetui.drawing.formats import require_format
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from eetui.report.blocks import Block

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}


def report(
    runs: Runs = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="html: one page; md: Markdown, figures beside it. [default: html]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="The file. [default: report.html]")
    ] = None,
    force: Force = False,
    *,
    db: Database,
) -> None:
    """Write a page about an experiment: tables, figures, config, code state, and the commands that make it again."""
    from core.store.reader import Reader
    from eetui.cli.compare import views_of
    from eetui.compare.report_runs import PREFIX
    from eetui.figures.files import require_free, write_file
    from eetui.report.content import report as blocks_of
    from eetui.report.page import as_html

    chosen = _format(file_format, output)
    path = output or Path(f"report.{chosen}")
    require_free([path], force=force)
    views = views_of(runs or [], db)
    if all(view.name.startswith(PREFIX) for view in views):
        raise UsageError("these are columns of the seed report, of which there is nothing more to tell: name a run")
    with Reader(db) as reader:
        blocks = list(blocks_of(reader, views, runs or [], figures=_can_draw(), where=on_database(db)))
    if chosen == "html":
        written = [write_file(path, as_html(blocks).encode())]
    else:
        written = _write_markdown(blocks, path, force=force)
    for each in written:
        print(one_line(str(each), 4096))


def _format(asked: str | None, output: Path | None) -> str:
    """Return the format that was asked for, or that the file's name has.

    Raises:
        UsageError: there is no such format, or the name has another.
    """
    formats = CHOICES["report --format"]
    if asked is not None:
        require_format(asked, formats)
    own = None if output is None else SUFFIXES.get(output.suffix.lower())
    if asked and own and asked != own:
        raise UsageError(f"--output {output} is {own}, and --format asks for {asked}: leave one out")
    if output is not None and not asked and not own and mimetypes.guess_type(output.name)[0]:
        raise UsageError(f"--output {output}: pages are written as {' or '.join(formats)}, not as {output.suffix}")
    return asked or own or "html"


def _can_draw() -> bool:
    from eetui.figures.render import require_matplotlib

    try:
        require_matplotlib()
    except UsageError:
        return False
    return True


def _write_markdown(blocks: "list[Block]", path: Path, *, force: bool) -> list[Path]:
    """Write a page and the folder of its figures; return all paths."""
    from eetui.figures.files import paths_of, write_file, write_plots
    from eetui.figures.plot import Plot
    from eetui.report.markdown_page import as_markdown
    from eetui.report.page import WIDTH

    folder = path.with_name(f"{path.stem}-figures")
    placed = paths_of([block for block in blocks if isinstance(block, Plot)], folder)
    names = {id(plot): quote(f"{folder.name}/{stem.name}") for plot, stem in placed}
    written = list(write_plots(placed, ("svg",), WIDTH, force=force))
    text = as_markdown(blocks, lambda plot: names[id(plot)])
    return [write_file(path, text.encode()), *written]
