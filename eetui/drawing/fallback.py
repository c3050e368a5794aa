"""Output in encodings that lack what eetui draws with: each character becomes ASCII of the same width."""

import codecs

FALLBACK = "eetui.fallback"
"""Name of the error handler for encoders; importing this module registers it."""
UNKNOWN = "?"
DRAWN_AS = {
    "-": "─━–—−‐‑╌┄▔▁", "|": "│┃║╎┆▏▎▌▐", "+": "┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛╋╸╺●✓", "=": "═", "~": "…±≈", "*": "★•·∙⣿",
    "x": "×✗✕", ">": "▶›→»❯", "<": "◀‹←«", "^": "▲↑", "v": "▼↓", "#": "█▇▆■▓▒◼", ":": "▅▄▃", ".": "▂░‖", "'": "‘’′",
    '"': "“”″",
}  # fmt: skip
"""ASCII characters and those they stand for."""
ASCII = {other: plain for plain, others in DRAWN_AS.items() for other in others}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace what can't be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from rich.cells import cell_len  # 15 ms, which most output does not need

    refused = error.object[error.start : error.end]
    return "".join(ASCII.get(one, UNKNOWN * cell_len(one)) for one in refused), error.end


codecs.register_error(FALLBACK, _in_ascii)
