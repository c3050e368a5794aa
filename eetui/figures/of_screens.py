"""Figures as screens ask for them, each of what a screen shows, from the database of the console."""

from collections.abc import Callable, Sequence
from pathlib import Path

from core.store.reader import Reader
from core.sweeps.combinations import Combination
from core.sweeps.heat import HeatTable
from eetui.compare.comparison import Comparison, compare
from eetui.compare.run_view import stored_view
from eetui.compare.savings_curves import stored_curves
from eetui.console.export import names_in
from eetui.drawing.formats import free_stem
from eetui.figures.curves import curves_plot
from eetui.figures.files import write_plots
from eetui.figures.plot import TEXT, Plot
from eetui.figures.reliability import reliability_plot
from eetui.figures.render import Format
from eetui.figures.savings import savings_plot
from eetui.figures.sweep_front import front_plot
from eetui.figures.sweep_heat import heat_plot
from eetui.figures.token_map import token_map_plot
from eetui.figures.waterfall import waterfall_plot


def curves(database: Path, comparison: Comparison, as_ppl: bool) -> Plot:
    """Draw Compare's curves, a panel for each block.

    Raises:
        UsageError: no run has any.
    """
    return curves_plot(comparison, as_ppl=as_ppl)


def savings(database: Path, comparison: Comparison) -> Plot:
    """Draw Compare's savings.

    Raises:
        UsageError: no run has been evaluated.
    """
    with Reader(database) as reader:
        return savings_plot(comparison, stored_curves(reader, comparison))


def savings_of_run(database: Path, run: int) -> Plot:
    """Draw the curve of Inspect.

    Raises:
        EetuiError: there is no such run, or it has not been evaluated.
    """
    with Reader(database) as reader:
        comparison = compare([stored_view(reader, run)])
    return savings(database, comparison)


def tokens(database: Path, run: int, first: int) -> Plot:
    """Draw Inspect's text from a token on, at the run's own thresholds.

    Raises:
        EetuiError: there is no such run, or nothing to show of it.
    """
    with Reader(database) as reader:
        return token_map_plot(reader, run, first=first)


def reliability(database: Path, run: int) -> Plot:
    """Draw what a run's signal claims against what is found.

    Raises:
        EetuiError: there is no such run, or nothing to show of it.
    """
    with Reader(database) as reader:
        return reliability_plot(reader, run)


def waterfall(database: Path, run: int) -> Plot:
    """Draw Inspect's diagnosis.

    Raises:
        EetuiError: there is no such run, or nothing to show of it.
    """
    with Reader(database) as reader:
        return waterfall_plot(reader, run)


def heat(database: Path, name: str, table: HeatTable | None) -> Plot:
    """Draw a sweep's heat table.

    Raises:
        UsageError: it has none.
    """
    return heat_plot(name, table)


def front(database: Path, name: str, found: Sequence[Combination]) -> Plot:
    """Draw a sweep's front.

    Raises:
        UsageError: it has none.
    """
    return front_plot(name, found)


FIGURES: dict[str, Callable[..., Plot]] = {
    one.__name__: one for one in (curves, savings, savings_of_run, tokens, reliability, waterfall, heat, front)
}
"""All figures that screens ask for, by name."""


def write_beside_others(plot: Plot, folder: Path, one: Format) -> list[Path]:
    """Write a figure as wide as a paper's text, and its numbers, numbered if their names are taken; return the paths.

    Raises:
        UsageError: matplotlib is not installed, or they can't be written.
    """
    stem = free_stem(plot.name, names_in(folder), (f".{one}", ".csv"))
    return list(write_plots([(plot, folder / stem)], [one], TEXT, force=False))
