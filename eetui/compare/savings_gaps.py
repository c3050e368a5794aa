"""What the curves of a comparison lack, in words.

Columns without a curve, or with one of some of their seeds, and blocks that were better before later ones were trained.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.formulas import layers_saved
from core.metrics import way_ppl
from eetui.compare.advice import main_fingerprint
from eetui.compare.columns import Column
from eetui.compare.comparison import Comparison
from eetui.compare.savings_curves import SavingsCurve, Tried, curves_of

RUN = "…"
"""Stands for a run in a reason that holds for several."""
SAME = 1e-3
"""Difference in nats up to which a block is taken to be as good as before."""
ROUNDING = 1e-9
"""How far the last of a curve's savings may lie below the block's by rounding."""
OTHER_TEXT = f"{RUN} was not evaluated on the text that most are"


def curve_title(column: Column, curve: SavingsCurve | None) -> str:
    """Return the title of a column, and how many of its seeds its curve is of unless it is of all."""
    if curve is None or curve.seeds == len(column.runs):
        return column.title
    return f"{column.title} (curve: {curve.seeds} of {len(column.runs)} seeds)"


@dataclass(frozen=True)
class _Gap:
    """What a curve lacks.

    Attributes:
        curves: number of its seeds that have one.
        seeds: number of its seeds; 0 where none has one.
        reason: why the others have none, with `RUN` for the run; empty where they were not tried.
    """

    curves: int
    seeds: int
    reason: str


def curve_notes(comparison: Comparison, tried: Tried) -> Iterator[str]:
    """Yield which columns have no curve, or one of some of their seeds only, and why, as far as it was tried."""
    main, gaps = main_fingerprint(comparison.columns), dict[_Gap, list[Column]]()
    for column in comparison.columns:
        comparable = column.fingerprint == main
        curves = len(curves_of(column, tried)) if comparable else 0
        reason = _reason(column, tried) if comparable else OTHER_TEXT
        if curves < len(column.runs) and (curves or reason):
            gap = _Gap(curves, len(column.runs) if curves else 0, reason)
            gaps.setdefault(gap, []).append(column)
    return (_said(gap, columns) for gap, columns in gaps.items())


def better_before(comparison: Comparison, tried: Tried) -> Iterator[str]:
    """Yield which blocks, as they were before later ones were trained, stand below the curves of which columns.

    Static depths, and so the line to beat, are of the finished models: such a curve may lie below them all the same.
    """
    found = dict[tuple[int, float], list[str]]()
    for column in comparison.columns:
        for block, saved in enumerate(layers_saved(column.runs[0].block_layers)[:-1]):
            metric = way_ppl("as trained", block)
            seeds = [(tried.get(run.name), run.metrics.get(metric)) for run in column.runs]
            above = [
                _early_exit(curve, saved) - math.log(ppl)
                for curve, ppl in seeds
                if isinstance(curve, SavingsCurve) and ppl
            ]
            if above and SAME < statistics.fmean(above) < math.inf:
                found.setdefault((block, saved), []).append(column.title)
    for (block, saved), titles in found.items():
        yield (
            f"Block {block} before later ones were trained ({saved:.1%} of the layers saved) stands below the curves "
            f"of {', '.join(titles)}; static depths are of the finished models"
        )


def _early_exit(curve: SavingsCurve, saved: float) -> float:
    """Return the lower loss of a curve, by exit rate or by price, at some savings; infinite beyond its ends."""
    lines = ((curve.savings, curve.loss), (curve.priced.savings, curve.priced.loss))
    at = saved - ROUNDING
    return min(float(np.interp(at, savings, losses, math.inf, math.inf)) for savings, losses in lines)


def _reason(column: Column, tried: Tried) -> str:
    """Return why the first of a column's runs without a curve has none, without the advice behind it."""
    for run in column.runs:
        if isinstance(why := tried.get(run.name), str):
            reason = why.partition(": ")[0]
            return f"{RUN}{reason.removeprefix(run.name)}" if reason.startswith(f"{run.name} ") else reason
    return ""


def _said(gap: _Gap, columns: Sequence[Column]) -> str:
    """Write in words what columns lack."""
    titles = ", ".join(column.title for column in columns)
    without = sum(len(column.runs) - gap.curves for column in columns)
    if not gap.curves:
        what, who = f"No savings curve of {titles}", "it" if without == 1 else "each"
    else:
        windows = " (intervals over windows only)" if gap.curves == 1 else ""
        what = f"Savings curve of {gap.curves} of {gap.seeds} seeds of {titles}{windows}"
        who = "the other" if without == 1 else "each other"
    reason = f"{who}{gap.reason[1:]}" if gap.reason.startswith(RUN) else gap.reason
    return f"{what}: {reason}" if reason else what
