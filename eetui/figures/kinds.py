"""The kinds of figures, and which of them given runs can have."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from core.errors import EetuiError, UsageError
from core.store.reader import Reader
from eetui.compare.comparison import Comparison
from eetui.compare.savings_curves import stored_curves
from eetui.figures.curves import curves_plot
from eetui.figures.plot import Plot
from eetui.figures.reliability import reliability_plot
from eetui.figures.savings import savings_plot
from eetui.figures.token_map import MISSING_LINES, token_map_plot
from eetui.figures.waterfall import waterfall_plot

Kind = Literal["curves", "savings", "waterfall", "reliability", "tokens"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Options:
    """How figures are drawn.

    Attributes:
        as_ppl: curves as PPL instead of nats.
        first, lines: token that a token map begins with, and its number of lines.
    """

    as_ppl: bool = False
    first: int = 0
    lines: int = MISSING_LINES


@dataclass(frozen=True)
class LeftOut:
    """A figure that can't be drawn, and why."""

    kind: Kind
    why: str


Found = Plot | LeftOut


def plots(reader: Reader | None, comparison: Comparison, kinds: Sequence[Kind], options: Options) -> Iterator[Found]:
    """Yield the figures of runs: curves and savings of all of them together, the others of each run.

    Args:
        reader: of the database of the runs; None where they are none of it (the report's).
    """
    for kind in kinds:
        if kind == "curves":
            yield _tried(kind, lambda: curves_plot(comparison, as_ppl=options.as_ppl))
        elif kind == "savings":
            yield _tried(kind, lambda: savings_plot(comparison, stored_curves(reader, comparison) if reader else {}))
        elif reader is not None:
            yield from _of_each_run(kind, reader, comparison, options)


def _of_each_run(kind: Kind, reader: Reader, comparison: Comparison, options: Options) -> Iterator[Found]:
    makers: dict[Kind, Callable[[int], Plot]] = {
        "waterfall": lambda run: waterfall_plot(reader, run),
        "reliability": lambda run: reliability_plot(reader, run),
        "tokens": lambda run: token_map_plot(reader, run, first=options.first, lines=options.lines),
    }
    for run in numbers_of(reader, comparison):
        yield _tried(kind, lambda run=run: makers[kind](run))  # type: ignore[misc]


def numbers_of(reader: Reader, comparison: Comparison) -> list[int]:
    """Return the numbers of the stored runs of a comparison, in its order."""
    found = []
    for run in (run for column in comparison.columns for run in column.runs):
        try:
            found.append(reader.find_whole(run.name))
        except EetuiError:  # a column of the report
            continue
    return found


def _tried(kind: Kind, make: Callable[[], Plot]) -> Found:
    try:
        return make()
    except UsageError as error:  # no statistics, no exits, a method that is gone
        return LeftOut(kind, " ".join(str(error).split()))
