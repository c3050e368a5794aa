"""Generated text, each token in the look of the block it came from."""

import json
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.text import Text

from core.analysis.text_generator import Piece, Shares, Writer
from eetui.drawing.figures import figure

LOOKS = ("cyan", "underline yellow", "italic green", "underline italic magenta", "bold blue", "bold underline red")
"""Of each block's tokens, in the terminal's own colours, and told apart without; they repeat."""


def block_look(block: int) -> Style:
    """Of the tokens that a block predicted."""
    return Style.parse(LOOKS[block % len(LOOKS)])


def piece_text(piece: Piece, look: Style | None = None) -> Text:
    """A token; a blank before it is left unmarked, so that words stay apart."""
    word = piece.text.lstrip()
    return Text(piece.text[: len(piece.text) - len(word)]).append(word, look or block_look(piece.token.block))


def generated_text(prompt: str, pieces: Sequence[Piece]) -> Text:
    """Prompt and continuation."""
    return Text.assemble((prompt, "dim"), *map(piece_text, pieces))


def legend(writer: Writer, shares: Shares, seconds: float, tokens: int, looks: Sequence[Style] | None = None) -> Text:
    """What the looks mean, how many tokens have each, and what that saved; `looks` other than of `block_look`."""
    text = Text()
    for block, share in enumerate(shares.blocks):
        text.append(f"block {block}", looks[block] if looks else block_look(block))
        text.append(f" {figure(share, 'share')}   ", "bold")
    text.append(f"\nlayers saved {figure(shares.layer_savings, 'share')}, FLOPs {figure(shares.flop_savings, 'share')}")
    text.append(f"   {tokens / seconds:,.0f} tokens/s" if seconds else "")
    if writer.config.exit.exited_state == "input" and writer.thresholds:
        text.append("\nnothing is skipped: with exited_state = input, tokens that have left run through", "dim")
    return text


def generation_json(writer: Writer, prompt: str, pieces: Sequence[Piece], shares: Shares) -> str:
    """All of it, for other programs."""
    found: dict[str, Any] = {
        "run": writer.number,
        "name": writer.name,
        "method": writer.config.method_name,
        "thresholds": writer.thresholds,
        "prompt": prompt,
        "text": "".join(piece.text for piece in pieces),
        "exit_shares": shares.blocks,
        "layer_savings": shares.layer_savings,
        "flop_savings": shares.flop_savings,
        "tokens": [
            {
                "token": piece.token.token,
                "text": piece.text,
                "block": piece.token.block,
                "signals": piece.token.signals,
                "probability": piece.token.probability,
            }
            for piece in pieces
        ],
    }
    return json.dumps(found, indent=2, ensure_ascii=False)
