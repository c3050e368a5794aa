"""What a report says of exits and promises: what signals know, what a price promised, thresholds with a guarantee."""

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

from core.analysis.calibrate_run import Calibrated, calibrate
from core.analysis.calibration_request import CalibrationRequest
from core.analysis.exit_quality import ExitQuality, Ranking
from core.analysis.run_quality import run_quality
from core.errors import EetuiError
from core.pricing.thresholds import is_on
from core.state import RunState
from core.store.reader import Reader
from eetui.compare.sheets import Sheet
from eetui.drawing.figures import MISSING
from eetui.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph
from eetui.summary.priced_text import priced_facts

BUDGET, DELTA = 0.01, 0.1
"""What thresholds with a guarantee are chosen for: PPL above that of all blocks, as a share; chance that it fails."""
MOST_JUDGED = 12
"""Number of runs up to which each is judged by its tokens."""
SIGNALS = ("", "exit", "AUROC: right", "AUROC: last block no better", "read as", "off by")
GUARANTEED = (
    "", "leaves where the signal is at least", "PPL", "layers saved", "FLOPs saved", "broken at random",
    "in one piece",
)  # fmt: skip
Run = tuple[Mapping[str, Any], RunState]


def exits_and_promises(reader: Reader, runs: Sequence[Run], where: str = "") -> Iterator[Block]:
    """Yield what is known of runs' exits beyond their results; nothing of runs that have none.

    Args:
        where: what commands about these runs need behind them.
    """
    signals, guaranteed, left_out = list[tuple[str, ...]](), list[Calibrated](), list[str]()
    finished = [row for row, state in runs if state.final is not None]
    for row in finished if len(finished) <= MOST_JUDGED else ():
        try:
            signals += _signal_rows(row["name"], run_quality(reader, row["id"]).quality.exits)
            guaranteed.append(calibrate(reader, row["id"], CalibrationRequest(BUDGET, delta=DELTA)))
        except EetuiError as error:  # no tokens, no exits, too few windows, a method that is gone
            left_out.append(" ".join(str(error).split()))
    if signals:
        yield Heading("Exits")
        yield Sheet(
            "What each signal knows, and how far it is from what it claims (eetui quality)", SIGNALS, tuple(signals)
        )
    priced = list(_priced(runs))
    if priced or guaranteed:
        yield Heading("Promises")
        yield from priced
    if guaranteed:
        yield from _guarantees(guaranteed, where)
    if left_out and (signals or priced):
        yield Folded("Runs whose exits can't be judged", [Bullets(left_out)])
    if len(finished) > MOST_JUDGED:
        yield Paragraph(f"Exits of single runs are not judged here, as there are more than {MOST_JUDGED} runs.")


def _signal_rows(name: str, exits: Sequence[ExitQuality]) -> Iterator[tuple[str, ...]]:
    for judged in exits:
        error = MISSING if judged.signal is None else f"{judged.signal.error:.4f}"
        ranks = (_auroc(judged.correct), _auroc(judged.last_no_better))
        yield name, str(judged.block), *ranks, "an order" if judged.claims == "rank" else judged.claims, error


def _auroc(ranking: Ranking) -> str:
    return MISSING if ranking.auroc is None else f"{ranking.auroc:.3f}"


def _priced(runs: Sequence[Run]) -> Iterator[Block]:
    """Yield what the prices promised that set thresholds, and what came of it; nothing without any."""
    facts = [(row["name"], dict(priced_facts(state))) for row, state in runs]
    facts = [(name, each) for name, each in facts if each]
    if facts:
        keys = tuple(dict.fromkeys(key for _, each in facts for key in each))
        rows = tuple((name, *(each.get(key, "") for key in keys)) for name, each in facts)
        yield Sheet(
            "One price set the thresholds of all exits: what it promised, and what came true", ("", *keys), rows
        )


def _guarantees(found: Sequence[Calibrated], where: str) -> Iterator[Block]:
    """Yield the thresholds that keep a budget with a known probability, and how they did on text not used for them."""
    yield Sheet(
        f"Thresholds with a guarantee: {log(1 + BUDGET):.4f} nats ({BUDGET:.0%} of PPL) above all blocks at most, with "
        f"a probability of {1 - DELTA:.0%}", GUARANTEED,
        tuple(map(_guarantee_row, found)),
    )  # fmt: skip
    yield Paragraph(
        "They are chosen on one half of the evaluation windows, and figures are of the other half: PPL above that of "
        "all blocks, and what is saved. Last, how often the PPL was further above it over other halvings, at random "
        "and in one piece of the text each. Choosing them again, with the guarantee in full:"
    )
    options = f"--max-ppl-increase {BUDGET:.0%} --delta {DELTA:g}{where}"
    yield Commands([f"eetui calibrate {one.run} {options}" for one in found])


def _guarantee_row(found: Calibrated) -> tuple[str, ...]:
    choice, test = found.choice, found.test
    if choice.thresholds is None:
        where = "never: no thresholds are safe"
    else:
        where = ", ".join(f"{each:.4g}" if is_on(each) else "off" for each in choice.thresholds)
    broken = (MISSING if one is None else f"{one.rate:.0%}" for one in (choice.violations, choice.violations_in_pieces))
    savings = (f"{test.layer_savings:z.1%}", f"{test.flop_savings:z.1%}")
    return found.name, where, f"{test.ppl_increase:+z.2%}", *savings, *broken
