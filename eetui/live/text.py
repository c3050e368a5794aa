"""Text of the Live screen: its title, the facts of a stage, log lines, the queue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from core.formulas import perplexity
from core.state import StageState
from eetui.drawing.cells import fitted
from eetui.drawing.figures import MISSING, duration, figure
from eetui.drawing.palette import Palette
from eetui.drawing.status import STATUS_STYLES
from eetui.live.following import LineKind, LogLine
from eetui.live.situation import Machine, Situation, StageRow
from eetui.live.timeline_text import counted, time_left
from eetui.summary.profile_text import gigaflops, share_of_peak
from eetui.summary.progress import epoch_now, seconds_so_far, step_of_epoch

LABEL_WIDTH = 15
MOST_DOTS = 8
QUEUE_HINT, TIMES_HINT = "o: queue", "t shows its times"
LINE_SIGNS: dict[LineKind, str] = {"event": " ", "warning": "!", "error": "✗", "stray": "»"}


@dataclass(frozen=True)
class Fact:
    """A labelled figure of a stage; `brief` is its form on a line shared with others."""

    label: str
    value: str
    brief: str = ""


# The title bar


def title(row: Mapping[str, Any], situation: Situation, width: int, style: Palette) -> Text:
    """Write status, name and origin of the run on the left, its time on the right."""
    sign, word, look = _standing(row, situation, style)
    time = f"{duration(situation.elapsed):>7}"
    left = Text.assemble((f"{sign} {word}", look), "  ", (fitted(str(row["name"]), len(str(row["name"]))), "bold"))
    left.append(f"  {row['method']} · seed {row['seed']} · {row['preset'] or 'own config'}", style.quiet)
    if row["error"] and row["status"] in ("failed", "interrupted"):
        left.append(f"  {first_line(str(row['error']))}", look)
    available = max(width - len(time) - 2, 0)
    left.truncate(available, overflow="ellipsis", pad=True)
    return left.append(f"  {time}", "bold")


def _standing(row: Mapping[str, Any], situation: Situation, style: Palette) -> tuple[str, str, str]:
    """Return sign, word and style of the run's status."""
    match situation.phase:
        case "paused":
            return "‖", "paused", style.caution
        case "stopping":
            return "■", "stopping", style.caution
    status = str(row["status"])
    look = style.of_status(status)
    if status == "running":
        return "▶", "training", look
    if status == "queued" and situation.place is not None:
        return "…", f"queued #{situation.place}", look
    return STATUS_STYLES[status][0], status, look


def first_line(text: str) -> str:
    """Return the first line of a message."""
    return next(iter(text.splitlines()), "")


# Facts


def facts(stage: StageState, machine: Machine) -> list[Fact]:
    """Return a stage's facts, the most important first; their widths stay the same while it trains."""
    kinds = {"lm": _language_model, "exit classifier": _classifier, "hard tokens": _hard_tokens}
    own = kinds[stage.kind](stage, machine) if stage.kind in kinds else []
    return [
        *own,
        *_rate(stage),
        *_share_of_peak(stage, machine),
        *_memory(machine),
        Fact("device", machine.device, machine.device.partition(",")[0]),
        Fact("tokens", f"{stage.tokens:>9,} {token_set(stage)} tokens"),
    ]


def progress_facts(stage: StageState) -> list[Fact]:
    """Return epoch, step and times of the stage, for wide screens."""
    epoch = counted("", epoch_now(stage), stage.epochs).strip()
    step = counted("", step_of_epoch(stage), stage.steps).strip()
    found = [Fact("epoch", f"{epoch:>9}")] if stage.epochs != 1 else []
    found += [Fact("step", f"{step:>9}")] if stage.steps != 1 else []
    found.append(Fact("took", f"{duration(seconds_so_far(stage)):>9}"))
    return found if stage.seconds is not None else [*found, Fact("time left", f"{time_left(stage):>14}")]


def token_set(stage: StageState) -> str:
    """Return the name of the stage's tokens: later blocks train on the hard ones."""
    return "hard" if stage.block else "all"


def _language_model(stage: StageState, machine: Machine) -> list[Fact]:
    best = stage.best
    val = _ppl(None if best is None else best.val_loss)
    epoch = "" if best is None else f", epoch {best.epoch}"
    train = _ppl(None if best is None else best.loss)
    left, total = patience_left(stage, machine.patience), machine.patience
    bits = None if best is None else stage.val_bits(best.val_loss)
    found = [
        Fact("early-stop PPL", f"{val}  {token_set(stage)} tokens{epoch}", f"early-stop PPL {val}"),
        *([] if bits is None else [Fact("bits per byte", f"{figure(bits, 'bits'):>9}  of the same")]),
        *([Fact("patience", patience(left, total), patience(left, total))] if total else []),
        Fact("train PPL", f"{train}  same epoch"),
    ]
    return found + (_exit_figures(stage) if stage.history and stage.history[-1].exit_loss is not None else [])


def _classifier(stage: StageState, machine: Machine) -> list[Fact]:
    return _exit_figures(stage)


def _exit_figures(stage: StageState) -> list[Fact]:
    last = stage.history[-1] if stage.history else None
    loss = MISSING if last is None or last.exit_loss is None else f"{last.exit_loss:.4f}"
    label = MISSING if stage.avg_label is None else f"{stage.avg_label:.4f}"
    return [
        Fact("exit loss", f"{loss:>9}", f"exit loss {loss:>7}"),
        Fact("avg_label", f"{label:>9}", f"avg_label {label:>6}"),
    ]


def _hard_tokens(stage: StageState, machine: Machine) -> list[Fact]:
    found = stage.threshold
    if found is None:
        return [Fact("threshold", MISSING, f"threshold {MISSING}")]
    share = found.hard_tokens / found.tokens if found.tokens else 0.0
    return [
        Fact("threshold", f"{found.threshold:>9.4f}", f"threshold {found.threshold:.4f}"),
        Fact("hard tokens", f"{found.hard_tokens:>9,} {share:.1%}", f"hard tokens {found.hard_tokens:,} ({share:.1%})"),
    ]


def patience_left(stage: StageState, patience: int) -> int:
    """Return how many more epochs may pass without improvement."""
    last = stage.history[-1].patience_left if stage.history else None
    return patience if last is None else last


def patience(left: int, total: int) -> str:
    """Write `●●○ 2 of 3 left`."""
    dots = "●" * left + "○" * (total - left) + " " if 0 < total <= MOST_DOTS else ""
    return f"{dots}{left:>{len(str(total))}} of {total} left"


def stage_facts(row: StageRow, machine: Machine, width: int, style: Palette, *, in_lines: bool) -> Text:
    """Write a stage's facts on one line, or one per line below the stage's name."""
    if row.stage is None:
        return Text(f"{row.name} is {row.status}", style.quiet)
    found = facts(row.stage, machine)
    if not in_lines:
        return facts_line(found, width, style)
    table = facts_table([*progress_facts(row.stage), *found], width, style)
    return Text.assemble((f"{row.name}\n", "bold"), table)


def facts_line(found: Sequence[Fact], width: int, style: Palette) -> Text:
    """Write as many facts as fit on one line, none of them cut."""
    text = Text(no_wrap=True)
    for fact in found:
        if not fact.brief:
            continue
        between = " · " if text else ""
        if text.cell_len + len(between) + len(fact.brief) <= width:
            text.append(between, style.quiet).append(fact.brief)
    return text


def facts_table(found: Sequence[Fact], width: int, style: Palette) -> Text:
    """Write one fact per line."""
    lines = [Text.assemble((f"{fact.label:<{LABEL_WIDTH}}", style.quiet), fact.value) for fact in found]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines)


def _rate(stage: StageState) -> list[Fact]:
    """Return the rate in tokens/s; nothing for a stage that ended without steps."""
    if stage.tokens_per_second is None and stage.seconds is not None:
        return []
    rate = MISSING if stage.tokens_per_second is None else f"{stage.tokens_per_second:,.0f}"
    return [Fact("rate", f"{rate:>9} tok/s", f"{rate:>9} tok/s")]


def _share_of_peak(stage: StageState, machine: Machine) -> list[Fact]:
    """Return the share of the machine's peak; nothing for unknown FLOPs or a stage that ended without steps."""
    rate = stage.flops_per_second
    if not stage.flops or (rate is None and stage.seconds is not None):
        return []
    share = f"{MISSING if rate is None else share_of_peak(rate, machine.peak):>4} of peak"
    return [Fact("computing", f"{MISSING if rate is None else gigaflops(rate):>9} GFLOP/s  {share}", share)]


def _memory(machine: Machine) -> list[Fact]:
    """Return the memory used; nothing while another process trains the run."""
    if machine.memory is None:
        return []
    size = f"{machine.memory / 2**20:,.0f}"
    return [Fact("memory", f"{size:>9} MiB {machine.memory_word}", f"{size:>6} MiB {machine.memory_word}")]


def _ppl(loss: float | None) -> str:
    value = None if loss is None else perplexity(loss)
    return f"{MISSING if value is None else f'{value:,.2f}' if value < 1e6 else f'{value:.3g}':>9}"


# Log and queue


def log_text(line: LogLine, style: Palette) -> Text:
    """Write a line of the log with the sign of its kind."""
    look = {"warning": style.caution, "error": style.bad, "stray": style.quiet}.get(line.kind, "")
    return Text(f"{LINE_SIGNS[line.kind]} {line.text}", look)


def queue_line(names: Sequence[str], requests: int, width: int, *, preparing: bool = False) -> str:
    """Write `next: loss-12, softmax-13`, with as many names as fit; empty if nothing waits.

    Requests are experiments that the training thread has yet to prepare, which it does between two runs.
    """
    said = ["preparing"] if preparing else []
    said += [f"{requests} to be prepared"] if requests else []
    if names:
        available = width - len(" · ".join([*said, QUEUE_HINT])) - len(" · next:  and 1000 more")
        said += [f"next: {_listed(names, available)}", QUEUE_HINT]
    return " · ".join(said)


def hint(status: str, elsewhere: str | None, *, profiled: bool = False) -> str:
    """Write which process trains the run, or which keys act on it."""
    hints = {"finished": "i inspects it, w lets it write, c compares its experiment", "interrupted": "r lets it go on"}
    hints["failed"] = "r lets it go on; the log says what went wrong"
    word = "waits in" if status == "queued" else "trained by"
    said = [f"{word} {elsewhere}" if elsewhere else hints.get(status, ""), TIMES_HINT if profiled else ""]
    return ", ".join(filter(None, said))


def _listed(names: Iterable[str], width: int) -> str:
    waiting = list(names)
    shown = waiting[:1]
    for name in waiting[1:]:
        if len(", ".join([*shown, name])) > width:
            return f"{', '.join(shown)} and {len(waiting) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)
