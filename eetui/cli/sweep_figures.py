"""Figures of a sweep as files, for `eetui sweep show`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from core.sweeps.combinations import Combination
    from core.sweeps.heat import HeatTable
    from eetui.figures.plot import Plot


def write_sweep_figures(
    name: str,
    found: "Sequence[Combination]",
    table: "HeatTable | None",
    files: "Mapping[str, Path]",
    width: str,
    *,
    force: bool,
) -> None:
    """Write the heat table and the front to FILE-heat and FILE-front, each with its numbers, and print the paths.

    Args:
        files: FILE by format; a suffix of that format is left out.

    Raises:
        UsageError: there is nothing to draw, matplotlib is not installed, or a file is there and `force` is not set.
    """
    from eetui.figures.files import read_formats, read_width, write_plots
    from eetui.figures.render import require_matplotlib

    require_matplotlib()
    centimetres = read_width(width)
    drawn = _drawn(name, found, table)
    stems: dict[Path, list[str]] = {}
    for one, path in files.items():
        stems.setdefault(path.with_suffix("") if path.suffix.lower() == f".{one}" else path, []).append(one)
    for stem, suffixes in stems.items():
        placed = [(plot, stem.with_name(f"{stem.name}-{kind}")) for kind, plot in drawn.items()]
        for path in write_plots(placed, read_formats(suffixes), centimetres, force=force):
            print(one_line(str(path), 4096))


def _drawn(name: str, found: "Sequence[Combination]", table: "HeatTable | None") -> "dict[str, Plot]":
    """Return the figures that there are, and say why another is not."""
    from eetui.figures.sweep_front import front_plot
    from eetui.figures.sweep_heat import heat_plot

    drawn, missing = dict[str, "Plot"](), list[str]()
    makers: dict[str, Callable[[], Plot]] = {
        "heat": lambda: heat_plot(name, table),
        "front": lambda: front_plot(name, found),
    }
    for kind, make in makers.items():
        try:
            drawn[kind] = make()
        except UsageError as error:
            missing.append(str(error))
    if not drawn:
        raise UsageError("; ".join(missing))
    for why in missing:
        print(why, file=sys.stderr)
    return drawn
