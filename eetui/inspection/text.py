"""What-if figures, blocks, and the token under the cursor, as text of fixed columns, so that nothing jumps."""

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from core.analysis.diagnosis import SAME_SHARE
from core.analysis.token_table import TokenTable
from core.analysis.what_if import Leavers, Outcome, Setting
from core.config.derived import COST_NAMES
from core.events import Measured
from core.formulas import bits_at, perplexity, relative_change, share_of_layers_saved
from core.metrics import Unit
from core.pricing.thresholds import is_on
from eetui.drawing.cells import columns
from eetui.drawing.figures import MISSING, delta, figure, price
from eetui.drawing.themes import BLOCK_MARKS, MARK_NAMES, block_style, hue
from eetui.inspection.study import Study
from eetui.inspection.token_layout import quoted

FIGURES: tuple[tuple[str, str, Unit], ...] = (
    ("ppl", "PPL, eval", "ppl"),
    ("bits", "bits/byte", "bits"),
    ("accuracy", "accuracy", "share"),
    ("shallow_ratio", "left early", "share"),
    ("layer_savings", "saved", "share"),
)
"""Figures of an outcome, and of a measurement: its field, or what follows from its loss."""
RIGHT, WRONG = "✓", "✗"
WIDE_TOKEN = 94
NEEDED = (
    "So it is at any threshold (exited_state=deferred), but saved is a bound: all layers after each exit, and the run "
    "saved only those that no later token needed."
)

LEFT_AS = {
    "input": "as tokens that left reach later blocks as they came.",
    "copy": "as later tokens attend to the states that others left with.",
    "linear": "as later tokens see those that left through linear maps.",
    "drop": "as later tokens do not attend to those that left.",
}
"""Why the measured loss is another than that of tokens that went through all blocks, by `exit.exited_state`."""


def title(row: Mapping[str, Any], study: Study) -> Text:
    """Write the run's name and number of tokens."""
    facts = f"{row['method']}, seed {row['seed']}, {row['record']['corpus']}, {study.table.tokens:,} evaluated tokens"
    return Text.assemble(("Inspect ", "bold"), (row["name"], "bold"), (f"  {facts}", "dim"))


def figures(study: Study, width: int, *, caution: bool = True) -> Text:
    """Draw the thresholds, the figures, and a caution about them where there is room for it."""
    parts = (
        threshold_line(study),
        price_line(study, width),
        figures_table(study, width),
        *([Text(honesty(study.own.outcome, study.measured, study.exited_state), "dim")] if caution else []),
    )
    return Text("\n").join(parts)


def threshold_line(study: Study) -> Text:
    """Write the selected exit, its threshold, and the share of tokens that leave there."""
    block, exits, now = study.block, study.table.exits, study.now
    threshold, own = now.thresholds[block], study.own.thresholds[block]
    if not (is_on(threshold) and is_on(own)):
        moved = "the run's own" if is_on(threshold) == is_on(own) else f"own {figure(own, 'signal')}"
    else:
        moved = f"own {threshold - own:+z.4f}" if abs(threshold - own) >= 5e-5 else "the run's own"
    which = f"exit {block + 1} of {exits}, " if exits > 1 else "exit "
    text = Text.assemble((f"{which}after block {block}  ", "bold"), _moving("threshold", not study.moves_price))
    text.append(f" {figure(threshold, 'signal')}", "bold").append(f" ({moved})".ljust(17))
    return text.append("exit rate ").append(f"{now.outcome.exit_rate(block):.2%}", "bold")


def price_line(study: Study, width: int) -> Text:
    """Write the price that sets all thresholds, what it saves, what it was to save, and the static line."""
    point, found, own = study.against_static(), study.prices.found, study.own_price
    text = Text.assemble(_moving("price", study.moves_price), " ", no_wrap=True, overflow="crop")
    text.append(MISSING if study.price is None else price(study.price), "bold")
    if own is not None and study.price is not None:
        text.append(" (own)" if study.price == own else f" (own {price(own)})")
    saves = f"  saves {figure(point.savings, 'share')}"
    asked = f" (asked {found.target:.1%})" if found and found.policy == "savings" else ""
    error = f" ±{point.difference.high - point.difference.mean:.4f}" if point.difference else ""
    line = f"  static line {point.loss - point.line:+z.4f}{error}"
    cost = f" of {COST_NAMES[study.prices.cost]}"
    for parts in ((saves, cost, asked, line, " nats"), (saves, asked, line), (saves, line)):
        if text.cell_len + sum(map(cell_len, parts)) <= width:
            return text.append("".join(parts))
    return text.append(line)


def _moving(name: str, moves: bool) -> tuple[str, str]:
    """Return the name of what may be moved, underlined if it is."""
    return name, "underline" if moves else ""


def figures_table(study: Study, width: int) -> Text:
    """Draw a line per figure: now, against the run's own thresholds, as measured, and of fixed depths."""
    now, own, measured, depths = study.now.outcome, study.own.outcome, study.measured, study.what_if.static_depths
    names = [*(f"block {block}" for block in range(len(depths) - 1)), "all blocks"]
    heads = ["", "now", "   Δ own", "own", "measured", *names, "oracle"]
    lines = [heads]
    for name, label, unit in FIGURES:
        found = [_value(one, name, study) for one in (now, own, measured, *depths, study.what_if.oracle)]
        value, before, *_ = found
        if value is None or before is None:
            continue
        lines.append(
            [label, figure(value, unit), change(value, before, unit), *(figure(one, unit) for one in found[1:])]
        )
    between = range(heads.index("block 0") + 1, heads.index("all blocks"))
    return columns(lines, width, strong=1, give_way=between)


def _value(result: Outcome | Measured | None, name: str, study: Study) -> float | None:
    """Return a figure of a result; None where it is not known."""
    if result is None:
        return None
    match name:
        case "ppl":
            return perplexity(result.loss)
        case "bits":
            return bits_at(result.loss, study.bytes_per_token)
        case _:
            return float(getattr(result, name))


def change(value: float, before: float, unit: Unit) -> str:
    """Write the change of a figure: a PPL in percent of it, a share in points."""
    return delta(relative_change(value, before) if unit == "ppl" else value - before, unit)


def honesty(own: Outcome, measured: Measured | None, exited_state: str = "input") -> str:
    """Say what these figures are, and how far they are from the run's own measurement."""
    if measured is None:
        return "Full-context statistics; the run did not measure early exit itself."
    apart = measured.loss - own.loss
    if abs(apart) < 5e-5:
        same = "Full-context statistics; at its own threshold the run measured the same loss."
        own_way = share_of_layers_saved(measured.exit_shares, own.block_layers)
        return same if own_way - measured.layer_savings < SAME_SHARE else f"{same} {NEEDED}"
    return (
        f"Full-context statistics; at its own threshold the run measured {apart:+z.4f} nats against them, "
        + LEFT_AS.get(exited_state, "by rounding.")
    )


def blocks_table(outcome: Outcome, width: int) -> Text:
    """Draw for each block its leaving tokens, and their figures had they gone on through all blocks."""
    whole = Leavers(*(sum(getattr(b, field) for b in outcome.blocks) for field in Leavers.__dataclass_fields__))
    rows = [(f"block {block}", leavers) for block, leavers in enumerate(outcome.blocks)]
    heads = ["", "leave", "share", "PPL", "acc.", "later PPL", "later acc.", "cost nats"]
    lines = [heads, *(_block_line(name, leavers, outcome) for name, leavers in (*rows, ("all", whole)))]
    text = columns(lines, width, least=5)
    text.append("\nlater: had they gone on to the end; cost: what leaving adds to the loss", "dim")
    return text


def _block_line(name: str, leavers: Leavers, outcome: Outcome) -> list[str]:
    return [
        name,
        figure(leavers.tokens, "count"),
        figure(leavers.tokens / outcome.tokens, "share"),
        figure(leavers.ppl, "ppl"),
        figure(leavers.accuracy, "share"),
        figure(leavers.later_ppl, "ppl"),
        figure(leavers.later_accuracy, "share"),
        f"{(leavers.loss - leavers.later_loss) / outcome.tokens:+z.4f}",
    ]


def token_pane(study: Study, token: int, width: int, *, dark: bool) -> Text:
    """Draw the token under the cursor, the one that follows, and a line for each block's prediction."""
    table = study.table
    window, place = divmod(token, table.seq_len)
    here, after = (quoted(study.looks.pieces[int(ids[token])]) for ids in (table.inputs, table.targets))
    text = Text.assemble((f"{here} → {after}", "bold"), no_wrap=True, overflow="ellipsis")
    where = f"token {token + 1:,} of {table.tokens:,}, window {window + 1:,}, place {place + 1}"
    text.append(where.rjust(max(len(where) + 2, width - text.cell_len)), "dim")
    for block in range(table.blocks):
        text.append("\n")
        text.append_text(_token_line(study, token, block, dark=dark))
        if width >= WIDE_TOKEN:
            text.append(f"  max prob. {table.max_prob[block, token]:.3f}")
    return text


def _token_line(study: Study, token: int, block: int, *, dark: bool) -> Text:
    table, left_at = study.table, int(study.now.outcome.left_at[token])
    right = bool(table.correct[block, token])
    guess = f"{RIGHT if right else WRONG} {quoted(study.looks.pieces[int(table.prediction[block, token])], 16)}"
    return Text.assemble(
        (f"{hue(block).sign} block {block}", f"{'bold ' if block == left_at else ''}{hue(block).on(dark)}"),
        f"  {_exit_words(table, study.now, token, block):34}{table.cross_entropy[block, token]:8.4f} nats  ",
        (f"{guess}{' ' * max(0, 18 - cell_len(guess))}", "bold" if right else ""),
    )


def _exit_words(table: TokenTable, now: Setting, token: int, block: int) -> str:
    left_at = int(now.outcome.left_at[token])
    if block == table.exits:
        return "leaves here" if block == left_at else MISSING
    signal, threshold = table.signal[block, token], now.thresholds[block]
    verdict = "leaves here" if block == left_at else "goes on" if block < left_at else "has left"
    if not is_on(threshold):
        return f"signal {signal:.4f}, exit off {verdict}"
    reaches = "≥" if signal >= threshold else "<"
    return f"signal {signal:.4f} {reaches} {threshold:.4f} {verdict}"


def legend(blocks: int, width: int, *, dark: bool) -> Text:
    """Explain the looks of the tokens, in as many words as fit on a line; of too many blocks it shows the first."""
    wordings = [
        ("leaves at block", "next token predicted right", True, blocks),
        ("leaves at block", "predicted right", False, blocks),
        *(("block", "right", False, shown) for shown in range(blocks, 1, -1)),
    ]
    found = Text()
    for wording in wordings:
        found = _legend(*wording, blocks=blocks, dark=dark)
        if found.cell_len <= width:
            break
    return found


def _legend(leaves: str, bold: str, names: bool, shown: int, *, blocks: int, dark: bool) -> Text:
    text = Text(f"{leaves} ")
    for block in range(shown):
        mark = BLOCK_MARKS[block % len(BLOCK_MARKS)]
        name = f" {MARK_NAMES.get(mark, mark)}" if names else ""
        text.append(f"{hue(block).sign} {block}{name}", block_style(block, dark=dark))
        text.append("  ")
    return text.append("…  " if shown < blocks else "").append("bold", "bold").append(f": {bold}")
