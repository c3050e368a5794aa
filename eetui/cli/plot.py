"""The command that draws figures of runs: plot."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.choices import CHOICES, KINDS, listed
from eetui.cli.compare import views_of
from eetui.cli.options import Database, EachSeed, Force, Runs
from eetui.drawing.harmless import lines, one_line

if TYPE_CHECKING:
    from core.store.reader import Reader
    from eetui.figures.kinds import Found, Kind
    from eetui.figures.plot import Plot
    from eetui.figures.render import Format

Width = Annotated[
    str, typer.Option(metavar=f"{'|'.join(CHOICES['--width'])}|CM", help="Width: a column of a paper, its text, or cm.")
]


def plot(
    runs: Runs = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", help=f"{listed(KINDS)}; repeatable. [default: all that the runs can give]"),
    ] = None,
    file_format: Annotated[
        list[str] | None,
        typer.Option("--format", help=f"{listed(CHOICES['plot --format'])}; repeatable. [default: svg]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder, or a file where there is one figure. [default: figures/]"),
    ] = None,
    width: Width = "column",
    ppl: Annotated[bool, typer.Option("--ppl", help="Curves as PPL instead of nats.")] = False,
    first: Annotated[int, typer.Option(min=0, help="Token that a token map begins with.")] = 0,
    token_lines: Annotated[int, typer.Option("--lines", min=1, max=200, help="Lines of a token map.")] = 24,
    each_seed: EachSeed = False,
    force: Force = False,
    *,
    db: Database,
) -> None:
    """Draw figures of runs for a paper, with their numbers beside them as CSV."""
    from eetui.compare.comparison import compare
    from eetui.figures.files import read_formats, read_width, write_plots
    from eetui.figures.kinds import Options, plots
    from eetui.figures.render import require_matplotlib

    require_matplotlib()
    kinds, centimetres, formats = _kinds(kind), read_width(width), read_formats(file_format or [])
    comparison = compare(views_of(runs or [], db), group_seeds=not each_seed)
    with _reader(db, [run.name for column in comparison.columns for run in column.runs]) as reader:
        found = {each: list(plots(reader, comparison, [each], Options(ppl, first, token_lines))) for each in kinds}
    drawn = _drawn(found, kinds if kind else ())
    placed, chosen = _placed(drawn, output, formats)
    for path in write_plots(placed, chosen, centimetres, force=force):
        print(one_line(str(path), 4096))


def _kinds(words: Sequence[str] | None) -> "tuple[Kind, ...]":
    from eetui.figures.kinds import KINDS as ALL

    for word in words or ():
        if word not in ALL:
            raise UsageError(f"--kind must be one of {', '.join(ALL)}, got {word!r}")
    return tuple(each for each in ALL if not words or each in words)


def _reader(db: Path, names: Sequence[str]) -> "AbstractContextManager[Reader | None]":
    """Open the database; None where all are columns of the report, which is none of it."""
    from core.store.reader import Reader
    from eetui.compare.report_runs import PREFIX

    return nullcontext() if all(name.startswith(PREFIX) for name in names) else Reader(db)


def _drawn(found: "Mapping[Kind, Sequence[Found]]", wanted: "Sequence[Kind]") -> "list[Plot]":
    """Return the figures that there are, and say why others are not.

    Raises:
        UsageError: there is none, or none of a kind that was asked for.
    """
    from eetui.figures.plot import Plot

    drawn = {kind: [one for one in each if isinstance(one, Plot)] for kind, each in found.items()}
    why = {kind: _reason(kind, each) for kind, each in found.items()}
    lacking = [kind for kind in wanted or found if not drawn[kind]]
    if lacking and (wanted or len(lacking) == len(found)):
        raise UsageError("; ".join(why[kind] or f"no {kind}: none of these runs is stored" for kind in lacking))
    found_plots = [one for each in drawn.values() for one in each]
    for reason in filter(None, [*why.values(), *(each for plot in found_plots for each in plot.left_out)]):
        print(lines(reason), file=sys.stderr)
    return found_plots


def _reason(kind: "Kind", found: "Sequence[Found]") -> str:
    """Return why figures of a kind are missing; empty where none is."""
    from eetui.figures.kinds import LeftOut

    why = [one.why for one in found if isinstance(one, LeftOut)]
    more = f" (and {len(why) - 1} more {'run' if len(why) == 2 else 'runs'} like it)" if len(why) > 1 else ""
    return f"no {kind}: {why[0]}{more}" if why else ""


def _placed(
    drawn: "Sequence[Plot]", output: Path | None, formats: "Sequence[Format]"
) -> "tuple[list[tuple[Plot, Path]], Sequence[Format]]":
    """Return where each figure goes, and the formats.

    Raises:
        UsageError: several figures, or several formats, are to go into one file, or into one of another format.
    """
    from eetui.figures.files import FOLDER, paths_of, require_known, suffix_format

    if output is not None and not output.is_dir():
        require_known(output)
    own = None if output is None or output.is_dir() else suffix_format(output)
    if output is None or own is None:
        return paths_of(drawn, output or FOLDER), formats or ("svg",)
    if len(drawn) > 1:
        names = ", ".join(one.name for one in drawn)
        raise UsageError(f"--output {output} is one file, and these are {len(drawn)} figures ({names}): name a folder")
    if set(formats) - {own}:
        raise UsageError(f"--output {output} is {own}, and --format asks for {', '.join(formats)}: leave one out")
    return [(drawn[0], output.with_suffix(""))], (own,)
