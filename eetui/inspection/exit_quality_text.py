"""What the signal of one exit is worth, as text: figures, and a reliability diagram in columns."""

from rich.text import Text

from core.analysis.exit_quality import Ranking
from core.analysis.reliability import Reliability
from core.analysis.run_quality import Judgement
from eetui.drawing.cells import columns
from eetui.drawing.figures import MISSING, figure

CLAIMS = {"correct": "accuracy", "p(target)": "p(target)", "max_prob": "max prob.", "agrees": "agrees"}
"""What is found of each claim, as a column."""
CLAIMED, FOUND, BOTH = "│", "█", "┃"
NARROWEST, WIDEST = 8, 40


def quality_text(judged: Judgement, width: int) -> Text:
    """Rankings, calibration, overthinking, and the diagram."""
    exit_quality, overthinking = judged.exit, judged.overthinking
    text = Text.assemble(
        ("AUROC         ", "bold"),
        f"block right {_auroc(exit_quality.correct)}, next no better {_auroc(exit_quality.next_no_better)}, "
        f"last no better {_auroc(exit_quality.last_no_better)}",
        ("\nECE           ", "bold"),
        f"signal {_error(exit_quality.signal)}, largest probability {_error(exit_quality.confidence)}",
        ("\nOverthinking  ", "bold"),
        f"right, then wrong {overthinking.destructive:.2%} ({overthinking.cost:+.4f} nats), "
        f"right already {overthinking.wasteful:.2%}\n",
    )
    return text.append_text(diagram(judged.diagram, CLAIMS[exit_quality.claims], width))


def diagram(found: Reliability, name: str, width: int) -> Text:
    """Groups of equally many tokens, by signal: what it claims, as a stroke, and what is found, as a bar."""
    rows = list(zip(found.counts, found.claimed, found.found, strict=True))
    top = max(float(found.claimed.max()), float(found.found.max()), 1e-9)
    heads = ["tokens", "signal", name, "gap"]
    cells = [
        [figure(float(count), "count"), f"{claimed:.4f}", f"{there:.4f}", f"{there - claimed:+.4f}"]
        for count, claimed, there in rows
    ]
    text = columns([heads, *cells], width, gap=1)
    room = min(WIDEST, width - max(len(line) for line in text.plain.split("\n")) - 2)
    if room < NARROWEST:
        return text
    bars = [f"{CLAIMED} signal  {FOUND} {name}, 0 to {top:.3f}"[:room]]
    bars += [bar(float(claimed) / top, float(there) / top, room) for _, claimed, there in rows]
    joined = Text("\n").join(
        Text.assemble(line, "  ", shown) for line, shown in zip(text.split("\n"), bars, strict=True)
    )
    joined.no_wrap = True
    return joined


def bar(claimed: float, found: float, width: int) -> str:
    """A bar as long as what is found, and a stroke at what is claimed, both shares of the width."""
    end, at = round(found * width), min(width - 1, max(0, round(claimed * width) - 1))
    cells = [FOUND if cell < end else " " for cell in range(width)]
    cells[at] = BOTH if cells[at] == FOUND else CLAIMED
    return "".join(cells).rstrip()


def _auroc(ranking: Ranking) -> str:
    return MISSING if ranking.auroc is None else f"{ranking.auroc:.3f}"


def _error(found: Reliability) -> str:
    """Its size, and which way it goes on the whole."""
    return f"{found.error:.4f} {'too high' if found.bias > 0 else 'too low'}"
