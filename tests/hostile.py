"""Text that attacks who shows it, a database and a corpus full of it, and what may come of it."""

import io
import json
import re
import sqlite3
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

ATTACKS = (
    "\x1b]0;pwn\x07", "\x1b[8mhidden", "\x1b[2J\x1b[H", "\x9b31m", "\x90q\x9c", "\u202eevil\u2066",
    "zero\u200bwidth\ufeff",
    "[red]x[/]", "[@click=app.quit]x[/]", "new\nline\r\ttab", "nul\0del\x7f", "\u2028line\u2029", "=1+1", "@SUM(A1)",
    "|`*_[x](y)<b>", "tag\U000e0041", "\u3164",
)  # fmt: skip
"""Escape sequences, controls, what turns or hides text, markup, formulas."""
ALL = " ".join(ATTACKS)
OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|[0-9]*[AK])|\r")
"""Colours, and how the live line of a command is drawn."""


def harmful(text: str, *, coloured: bool = False) -> list[str]:
    """Return the characters of an output that a terminal would obey or not show."""
    plain = OWN.sub("", text) if coloured else text
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return [one for one in plain if one not in "\n\t" and (unicodedata.category(one) in kinds or one == "\u3164")]


def poison(database: Path, name: str = ALL, run: int = 1) -> None:
    """Write hostile text wherever a stored run has text that is shown."""
    with closing(sqlite3.connect(database)) as db, db:
        (stored,) = db.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchone()
        record = json.loads(stored)
        record |= {"corpus": ALL, "host": ALL, "command": f"eetui run --no-ui {ALL}", "packages": {ALL: ALL}}
        db.execute(
            "UPDATE runs SET name = ?, preset = ?, host = ?, record = ? WHERE id = ?",
            (name, ALL, ALL, json.dumps(record), run),
        )
        db.execute("UPDATE runs SET error = ? WHERE status <> 'finished'", (f"{ALL}\n{ALL}",))
        db.execute("DELETE FROM tags WHERE run_id = ?", (run,))
        db.execute("INSERT INTO tags VALUES (?, ?)", (run, ALL))
        db.execute("INSERT INTO notes (run_id, time, text) VALUES (?, 0, ?)", (run, ALL))
        last = db.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run,)).fetchone()[0]
        warned = json.dumps({"message": ALL})
        db.execute("UPDATE events SET seq = ? WHERE run_id = ? AND seq = ?", (last + 1, run, last))
        db.execute("INSERT INTO events VALUES (?, ?, 0, 'Warned', ?)", (run, last, warned))
    db.close()


def hostile_text(folder: Path) -> Path:
    """Write a text of hostile words into a file with a hostile name."""
    words = ALL.replace("\0", "").split() + ["plain", "words"]
    path = folder / "\x1b[8mtext\u202e[red].txt"
    path.write_text("\n".join(" ".join(words[(line * at) % len(words)] for at in range(20)) for line in range(100)))
    return path


class Stream(io.TextIOWrapper):
    """A stream that keeps its bytes, and may say that it is a terminal."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        self.kept, self.terminal = io.BytesIO(), terminal
        super().__init__(self.kept, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return self.terminal


def call(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool = False, encoding: str = "utf-8"
) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code and what it wrote."""
    from eetui.__main__ import main

    out, err = (Stream(terminal=terminal, encoding=encoding) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", ["eetui", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return code, *(stream.kept.getvalue().decode(encoding) for stream in (out, err))
