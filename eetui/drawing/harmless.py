"""Text of others made harmless: names, tags, notes, words and messages may hold what a terminal obeys.

Control characters (C0, DEL, C1) begin escape sequences, bidirectional controls turn the order of what follows, and
invisible characters hide. None of them is printable by Unicode's categories, which `str.isprintable` knows, except for
a few letters without an outline. Each becomes U+FFFD, so that it can be seen that there was something.
"""

import re

HIDDEN = "\N{REPLACEMENT CHARACTER}"
"""What stands for each harmful character."""
JOINER = "\N{ZERO WIDTH JOINER}"
LONGEST_NAME = 200
"""Characters of a name that are shown; eetui's own names are no longer."""
LONGEST_LINE = 2000
"""Characters of a line of words that are shown."""
INVISIBLE_LETTERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]")
ESCAPE = re.compile(r"\x1b\[[0-9;]{0,64}m")
"""Select Graphic Rendition: colours and styles, the only escape sequences that harm nothing."""


def harmless(text: str, keep: str = "\n\t") -> str:
    """Replace every character that a terminal would obey or not show, except those to keep."""
    if text.isprintable() and not INVISIBLE_LETTERS.search(text):
        return text
    plain = (one if one.isprintable() or one in keep else HIDDEN for one in text)
    return INVISIBLE_LETTERS.sub(HIDDEN, "".join(plain))


def one_line(text: str, longest: int = LONGEST_NAME) -> str:
    """Make a text harmless and bring it to one line of at most `longest` characters, a longer one ending in …"""
    return harmless(text if len(text) <= longest else text[: longest - 1] + "…", keep="")


def lines(text: str, longest: int = LONGEST_LINE) -> str:
    """Make each line of a text harmless, and shorten it to at most `longest` characters."""
    return "\n".join(one_line(line, longest) for line in text.split("\n"))


def same_width(text: str) -> str:
    """Make a text harmless that has been laid out: each harmful character becomes what takes as many cells, or nothing.

    Joiners stay, which are part of many emoji.
    """
    if text.isprintable():
        return text
    from rich.cells import cell_len  # 15 ms, which no message needs

    return "".join(one if one.isprintable() or one in JOINER else HIDDEN * cell_len(one) for one in text)


def styled(text: str) -> str:
    """Make a text harmless except for the colours and styles in it, which are eetui's own."""
    if text.isprintable():
        return harmless(text)
    parts, end = [], 0
    for found in ESCAPE.finditer(text):
        parts += [harmless(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, harmless(text[end:])])
