"""Evaluation tokens as flowing text: what each looks like, and where lines break, worked out as far as one looks."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from rich.cells import cell_len, set_cell_size

from core.analysis.token_table import Booleans, Integers
from eetui.drawing.harmless import harmless

NEWLINE, TAB, NOTHING = "⏎", "⇥", "∅"
FIRST_LINES = 200
"""Lines laid out at least, to guess from how many there will be."""


@dataclass(frozen=True)
class Look:
    """Appearance of a vocabulary entry in running text.

    Attributes:
        text: on one line.
        ends_line: it holds a line break.
        indent: blanks after its last line break, which the next line begins with.
        starts_word: a line may break before it.
    """

    text: str
    ends_line: bool
    indent: int
    starts_word: bool


def look(piece: str, *, words: bool) -> Look:
    """Return the look of a piece; `words`: the vocabulary has whole words, set apart by blanks."""
    head, newline, tail = piece.rpartition("\n")
    body, indent = (head + newline, cell_len(printable(tail))) if newline and not tail.strip() else (piece, 0)
    text = printable(body) or NOTHING
    if not cell_len(text):
        text = NOTHING  # a combining mark on its own
    return Look(f" {text}" if words else text, bool(newline), indent, words or not piece[:1].isalnum())


def printable(piece: str) -> str:
    """Write a text on one line, nothing invisible but blanks."""
    plain = piece.replace("\r\n", NEWLINE).replace("\n", NEWLINE).replace("\t", TAB)
    return harmless(plain, keep="")


def quoted(piece: str, cells: int = 24) -> str:
    """Quote a piece so that its blanks can be seen, in so many cells at most."""
    text = printable(piece)
    return f'"{text}"' if cell_len(text) + 2 <= cells else f'"{set_cell_size(text, cells - 3).rstrip()}…"'


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks of a whole vocabulary, and their measures as arrays over it."""

    looks: Sequence[Look]
    pieces: Sequence[str]
    words: bool

    @staticmethod
    def of(vocabulary: Sequence[str], *, words: bool) -> "Looks":
        return Looks([look(piece, words=words) for piece in vocabulary], vocabulary, words)

    @cached_property
    def widths(self) -> Integers:
        return np.array([cell_len(look.text) for look in self.looks], np.int64)

    @cached_property
    def ends_line(self) -> Booleans:
        return np.array([look.ends_line for look in self.looks], np.bool_)

    @cached_property
    def starts_word(self) -> Booleans:
        return np.array([look.starts_word for look in self.looks], np.bool_)


class Layout:
    """The lines of a token stream in a width. Lines are found in order, when they are asked for."""

    def __init__(self, tokens: Integers, looks: Looks, width: int) -> None:
        self.tokens, self.looks, self.width = tokens, looks, max(1, width)
        self._starts = array("q", [0])
        self._cells = _as_array(np.concatenate(([0], np.cumsum(looks.widths[tokens]))))
        places = np.arange(len(tokens) + 1)
        self._line_end = _as_array(_next(np.append(looks.ends_line[tokens], True), places, len(tokens)))
        starts_word = np.append(looks.starts_word[tokens], True)
        self._word_start = _as_array(np.maximum.accumulate(np.where(starts_word, places, 0)))

    @property
    def known(self) -> int:
        """Number of lines that have been laid out."""
        return len(self._starts) - 1

    @property
    def complete(self) -> bool:
        return self._starts[-1] >= len(self.tokens)

    @property
    def height(self) -> int:
        """Number of lines, estimated from those laid out."""
        self._extend(FIRST_LINES)
        if self.complete:
            return self.known
        return round(self.known * len(self.tokens) / self._starts[-1])

    def line(self, number: int) -> range:
        """Return the tokens of a line; none beyond the last."""
        self._extend(number + 1)
        if number < 0 or number >= self.known:
            return range(0)
        return range(self._starts[number], self._starts[number + 1])

    def line_of(self, token: int) -> int:
        """Return the line that a token is on."""
        while not self.complete and self._starts[-1] <= token:
            self._extend(self.known + FIRST_LINES)
        return max(0, min(bisect_right(self._starts, token), self.known) - 1)

    def indent(self, number: int) -> int:
        """Return the number of blanks that a line begins with."""
        start = self.line(number).start
        return min(self.looks.looks[int(self.tokens[start - 1])].indent, self.width // 2) if start else 0

    def column(self, token: int) -> int:
        """Return the column at which a token begins."""
        number = self.line_of(token)
        return self.indent(number) + self._cells[token] - self._cells[self._starts[number]]

    def token_at(self, number: int, column: int) -> int | None:
        """Return the token that covers a column of a line, or the nearest one."""
        tokens = self.line(number)
        if not tokens:
            return None
        place = self._cells[tokens.start] + max(0, column - self.indent(number))
        return max(tokens.start, min(bisect_right(self._cells, place, tokens.start, tokens.stop + 1) - 1, tokens[-1]))

    def _extend(self, lines: int) -> None:
        while len(self._starts) <= lines and not self.complete:
            self._starts.append(self._end_of_line(self._starts[-1]))

    def _end_of_line(self, start: int) -> int:
        before = self.looks.looks[int(self.tokens[start - 1])] if start else None
        room = self.width - (min(before.indent, self.width // 2) if before else 0)
        fits = bisect_right(self._cells, self._cells[start] + room, start, len(self._cells)) - 1
        line_end = self._line_end[start] + 1
        if fits >= min(line_end, len(self.tokens)):
            return min(line_end, len(self.tokens))
        word = self._word_start[fits]
        return word if word > start else max(fits, start + 1)


class SearchableText:
    """The tokens as one string, to search in."""

    def __init__(self, tokens: Integers, looks: Looks) -> None:
        separator = " " if looks.words else ""
        pieces = [looks.pieces[token] + separator for token in tokens.tolist()]
        self._string = "".join(pieces)
        self._starts = array("q", np.concatenate(([0], np.cumsum([len(piece) for piece in pieces]))).tolist())

    def find(self, words: str, after: int) -> int | None:
        """Find the first token after a place in which the text begins, ignoring case, wrapping at the end."""
        pattern = re.compile(re.escape(words), re.IGNORECASE)
        start = self._starts[min(after + 1, len(self._starts) - 1)]
        found = pattern.search(self._string, start) or pattern.search(self._string)
        return None if found is None else self._token(found)

    def find_before(self, words: str, before: int) -> int | None:
        """Find the last token before a place in which the text begins, wrapping at the start."""
        tokens = [self._token(found) for found in re.finditer(re.escape(words), self._string, re.IGNORECASE)]
        if not tokens:
            return None
        return tokens[bisect_left(tokens, before) - 1]

    def _token(self, found: re.Match[str]) -> int:
        return bisect_right(self._starts, found.start()) - 1


def _next(marked: Booleans, places: Integers, last: int) -> Integers:
    """Return for each place the first marked one from there on."""
    candidates = np.where(marked, places, last)
    return np.minimum.accumulate(candidates[::-1])[::-1]


def _as_array(values: Integers) -> "array[int]":
    return array("q", values.astype(np.int64).tobytes())
