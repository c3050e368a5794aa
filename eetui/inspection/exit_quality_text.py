"""What the signal of one exit is worth, as text: figures, and what it claims against what is found, in columns."""

import numpy as np
from rich.text import Text

from core.analysis.exit_quality import IN_NATS, ExitQuality, Ranking
from core.analysis.reliability import Reliability
from core.analysis.run_quality import Judgement
from eetui.drawing.cells import columns
from eetui.drawing.figures import MISSING, figure

FOUND_OF = {
    "correct": "accuracy",
    "p(target)": "p(target)",
    "max_prob": "max prob.",
    "agrees": "agrees",
    "gain": "gain, nats",
    "price": "gain, nats",
}
"""What is found of each claim, as a column."""
ORDER_ONLY = "signal claims an order only"
CLAIMED, FOUND, BOTH = "│", "█", "┃"
NARROWEST, WIDEST = 8, 40


def quality_text(judged: Judgement, width: int) -> Text:
    """Rankings, calibration error and bias, overthinking, and the diagram where the signal is no mere order."""
    exit_quality, overthinking = judged.exit, judged.overthinking
    text = Text.assemble(
        ("AUROC         ", "bold"),
        f"block right {_auroc(exit_quality.correct)}, next no better {_auroc(exit_quality.next_no_better)}, "
        f"last no better {_auroc(exit_quality.last_no_better)}",
        ("\nECE (bias)    ", "bold"),
        f"{_signal_error(exit_quality)}, largest probability {_error(exit_quality.confidence)}",
        ("\nOverthinking  ", "bold"),
        f"right, then wrong {overthinking.destructive:.2%} ({overthinking.cost:+z.4f} nats), "
        f"right already {overthinking.wasteful:.2%}",
    )
    if exit_quality.signal is None:
        return text
    claimed = "claimed" if exit_quality.claims in IN_NATS else "signal"
    return text.append("\n").append_text(diagram(exit_quality.signal, FOUND_OF[exit_quality.claims], width, claimed))


def diagram(found: Reliability, name: str, width: int, claimed_name: str = "signal") -> Text:
    """Groups of equally many tokens, by signal: what it claims, as a stroke, and what is found, as a bar from 0."""
    rows = list(zip(found.counts, found.claimed, found.found, strict=True))
    values = np.concatenate([found.claimed, found.found])
    low, top = min(float(values.min()), 0.0), max(float(values.max()), 1e-9)
    heads = ["tokens", claimed_name, name, "gap"]
    cells = [
        [figure(float(count), "count"), f"{claimed:.4f}", f"{there:.4f}", f"{there - claimed:+z.4f}"]
        for count, claimed, there in rows
    ]
    text = columns([heads, *cells], width, gap=1)
    room = min(WIDEST, width - max(len(line) for line in text.plain.split("\n")) - 2)
    if room < NARROWEST:
        return text
    shares = [((float(claimed) - low) / (top - low), (float(there) - low) / (top - low)) for _, claimed, there in rows]
    bars = [f"{CLAIMED} {claimed_name}  {FOUND} {name}, {low:.3g} to {top:.3f}"[:room]]
    bars += [bar(claimed, there, room, -low / (top - low)) for claimed, there in shares]
    joined = Text("\n").join(
        Text.assemble(line, "  ", shown) for line, shown in zip(text.split("\n"), bars, strict=True)
    )
    joined.no_wrap = True
    return joined


def bar(claimed: float, found: float, width: int, zero: float = 0.0) -> str:
    """Draw a bar from zero to the truth, and a stroke at the claim, both as shares of the width."""
    start, end = sorted((round(zero * width), round(found * width)))
    at = min(width - 1, max(0, round(claimed * width) - (claimed >= zero)))
    cells = [FOUND if start <= cell < end else " " for cell in range(width)]
    cells[at] = BOTH if cells[at] == FOUND else CLAIMED
    return "".join(cells).rstrip()


def _auroc(ranking: Ranking) -> str:
    return MISSING if ranking.auroc is None else f"{ranking.auroc:.3f}"


def _signal_error(judged: ExitQuality) -> str:
    """Say how far the signal is from its claim."""
    if judged.signal is None:
        return ORDER_ONLY
    return f"gain {_error(judged.signal, ' nats')}" if judged.claims in IN_NATS else f"signal {_error(judged.signal)}"


def _error(found: Reliability, unit: str = "") -> str:
    """Write the error's size, and how much too high the claim is on the whole."""
    return f"{found.error:.4f}{unit} ({found.bias:+z.4f})"
