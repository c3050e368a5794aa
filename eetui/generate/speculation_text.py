"""Speculation in words: its text with rejected drafts, its legend and its JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.style import Style
from rich.text import Text

from core.analysis.speculative_text import Speed, WrittenPass
from core.analysis.text_generator import TextGenerator
from core.early_exit.draft_length import Drafting
from core.early_exit.speculation import Tally
from eetui.drawing.figures import figure
from eetui.drawing.formats import json_text
from eetui.generate.text import block_look, piece_text, token_json

REJECTED = Style.parse("dim strike")
NEVER_FEWER_FLOPS = (
    "Speculation never saves FLOPs: every token passes all layers, and drafts come on top. What it can save is seconds."
)


@dataclass(frozen=True)
class Speculated:
    """Figures of a text that was written by speculation.

    Attributes:
        drafting: how it was drafted.
        tally: figures of its passes.
        acceptance: chance that a draft of each exit would have been accepted, on this text; empty: not computed.
        undrafted: number of its tokens that were written with a full window.
        speed: against plain decoding; None: not timed.
    """

    drafting: Drafting
    tally: Tally
    acceptance: tuple[float, ...] = ()
    undrafted: int = 0
    speed: Speed | None = None


def drafting_text(drafting: Drafting) -> str:
    """Write how many tokens are drafted at which exit."""
    if drafting.length is not None:
        return f"exit {drafting.block}, {drafting.length} at a time"
    if drafting.until is not None:
        return f"exit {drafting.block}, until its signal falls below {drafting.until:g}"
    return f"exit {drafting.block}, as many as give the most tokens a second"


def pass_text(written: WrittenPass, looks: Sequence[Style] | None = None) -> Text:
    """Draw a pass: accepted drafts in the style of the exit's block, `[-rejected-]` ones, the last block's token."""
    *accepted, last = (piece_text(piece, looks[piece.token.block] if looks else None) for piece in written.pieces)
    words = " ".join(written.rejected.split())
    rejected = Text(f" [-{words}-]", REJECTED) if words else Text()
    return Text.assemble(*accepted, rejected, last)


def speculation_legend(found: Speculated, last: int, looks: Sequence[Style] | None = None) -> Text:
    """Draw what each block drafted and wrote, tokens a pass, FLOPs, acceptance by exit, and the speed.

    Args:
        last: number of the last block.
        looks: style of each block; None: `block_look`.
    """
    tally, block = found.tally, found.drafting.block
    rejected = tally.drafted - tally.accepted
    text = Text.assemble(
        (f"block {block}", looks[block] if looks else block_look(block)),
        (f" {tally.accepted} accepted"), ", ", (f"{rejected} rejected", REJECTED), (f" of {tally.drafted} drafts"),
        ("" if tally.acceptance is None else f" ({figure(tally.acceptance, 'share')})"), "   ",
        (f"block {last}", looks[last] if looks else block_look(last)), f" {tally.tokens - tally.accepted} itself",
    )  # fmt: skip
    text.append(f"\n{tally.tokens_per_pass:.2f} tokens a pass, {tally.flops:.2f} times the FLOPs of plain decoding")
    if found.acceptance:
        shares = "   ".join(f"{exit_} {figure(share, 'share')}" for exit_, share in enumerate(found.acceptance))
        text.append(f"\nacceptance of a draft on this text, by exit: {shares}")
    if found.undrafted:
        text.append(
            f"\n{found.undrafted} of {tally.tokens} tokens were written with a full window, where nothing is drafted: "
            "take a shorter prompt, fewer tokens, or a longer --window",
            "dim",
        )
    return text.append(f"\n{speed_text(found.speed)}") if found.speed else text


def speed_text(speed: Speed) -> str:
    """Write the speed against plain decoding, with its interval and verdict."""
    between = speed.interval
    spread = f"95% interval {between.low:.2f} to {between.high:.2f}" if between else "too few rounds for an interval"
    return (
        f"{speed.speculative:,.1f} tokens/s against {speed.plain:,.1f} plain, in turns: {speed.ratio:.2f} times that "
        f"({spread}, {speed.rounds} rounds). Speculation {speed.verdict}."
    )


def speculation_json(generator: TextGenerator, prompt: str, passes: Sequence[WrittenPass], found: Speculated) -> str:
    """Write run, text, figures and every pass as JSON."""
    data: dict[str, Any] = {
        "run": generator.number,
        "name": generator.name,
        "prompt": prompt,
        "text": "".join(piece.text for one in passes for piece in one.pieces),
        "speculation": tally_json(found.tally, found.drafting)
        | {
            "acceptance_by_exit": found.acceptance,
            "undrafted": found.undrafted,
            "speed": speed_json(found.speed),
        },
        "passes": [
            {
                "drafted": one.verified.drafted,
                "accepted": one.verified.accepted,
                "rejected_text": one.rejected,
                "tokens": [token_json(piece) for piece in one.pieces],
            }
            for one in passes
        ],
    }
    return json_text(data)


def tally_json(tally: Tally, drafting: Drafting) -> dict[str, Any]:
    """Write drafting and its figures as plain values."""
    return {
        "exit": drafting.block,
        "draft": drafting.length,
        "draft_until": drafting.until,
        "passes": tally.passes,
        "tokens": tally.tokens,
        "drafted": tally.drafted,
        "accepted": tally.accepted,
        "rejected": tally.drafted - tally.accepted,
        "acceptance": tally.acceptance,
        "tokens_per_pass": tally.tokens_per_pass,
        "flops_of_plain": tally.flops,
    }


def speed_json(speed: Speed | None) -> dict[str, Any] | None:
    """Write a speed as plain values."""
    return None if speed is None else asdict(speed) | {"verdict": speed.verdict}
