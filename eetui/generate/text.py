"""Generated text, each token in the style of the block it left at."""

from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.text import Text

from core.analysis.text_generator import Origins, Piece, TextGenerator
from core.pricing.thresholds import exits_off
from eetui.drawing.figures import figure
from eetui.drawing.formats import json_text

LOOKS = ("cyan", "underline yellow", "italic green", "underline italic magenta", "bold blue", "bold underline red")
"""Style of each block's tokens in the terminal's own colours, distinct without colour too; they repeat."""


def block_look(block: int) -> Style:
    """Return the style of tokens that a block predicted."""
    return Style.parse(LOOKS[block % len(LOOKS)])


def piece_text(piece: Piece, look: Style | None = None) -> Text:
    """Draw a token; whitespace before it has no style, so that underlined words stay apart."""
    stripped = piece.text.lstrip()
    return Text(piece.text[: len(piece.text) - len(stripped)]).append(stripped, look or block_look(piece.token.block))


def legend(
    generator: TextGenerator, origins: Origins, seconds: float, tokens: int, looks: Sequence[Style] | None = None
) -> Text:
    """Draw each block's style with its share of the tokens, or that its exit is off, the savings and the speed.

    Args:
        seconds: time that generation took.
        tokens: number of tokens generated.
        looks: style of each block; None: `block_look`.
    """
    text, off = Text(), exits_off(generator.thresholds)
    for block, share in enumerate(origins.blocks):
        text.append(f"block {block}", looks[block] if looks else block_look(block))
        text.append(" off   " if block in off else f" {figure(share, 'share')}   ", "dim" if block in off else "bold")
    text.append(
        f"\nlayers saved {figure(origins.layer_savings, 'share')}, FLOPs {figure(origins.flop_savings, 'share')}"
    )
    text.append(f"   {tokens / seconds:,.0f} tokens/s" if seconds else "")
    if generator.config.exit.exited_state == "input" and generator.thresholds:
        text.append(
            "\nnothing is skipped: with exited_state=input, tokens that have left run through later blocks too", "dim"
        )
    return text


def generation_json(generator: TextGenerator, prompt: str, pieces: Sequence[Piece], origins: Origins) -> str:
    """Write run, text, savings and every token as JSON."""
    found: dict[str, Any] = {
        "run": generator.number,
        "name": generator.name,
        "method": generator.config.method,
        "thresholds": generator.thresholds,
        "prompt": prompt,
        "text": "".join(piece.text for piece in pieces),
        "exit_shares": origins.blocks,
        "layer_savings": origins.layer_savings,
        "flop_savings": origins.flop_savings,
        "tokens": [token_json(piece) for piece in pieces],
    }
    return json_text(found)


def token_json(piece: Piece) -> dict[str, Any]:
    """Write a token as plain values."""
    return {
        "token": piece.token.token,
        "text": piece.text,
        "block": piece.token.block,
        "signals": piece.token.signals,
        "probability": piece.token.probability,
    }
