"""Values for shell completion: runs, sweeps, methods, presets, config keys, choices; light enough for each Tab.

Typer completes commands and options. What follows an option or a command of runs is answered here, before Typer is even
imported: that takes longer than the rest (`benchmarks.startup`).
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from eetui.cli.choices import CHOICES

MOST_ROWS = 200
OF_RUNS = (
    "show", "quality", "calibrate", "diagnose", "generate", "speculate", "export", "lm-eval", "compare", "rm",
    "resume", "plot", "report", "queue move", "queue drop",
)  # fmt: skip
"""Commands whose arguments are runs."""
OF_DELETED = ("restore",)
"""Commands whose arguments are deleted runs."""
OF_SWEEPS = ("sweep show", "sweep resume", "sweep add-seeds", "sweep cancel", "sweep delete")
"""Commands whose first argument is a sweep."""
GROUPS = ("queue", "sweep")
"""Commands that have commands of their own."""
FLAGS = (
    "--json", "--no-ui", "--yes", "-y", "--for-good", "--speculate", "--force", "--ppl", "--each-seed",
    "--only-changed", "--importance", "--no-importance",
)  # fmt: skip
"""Options of these commands that take no value."""
OTHER_SORTS = ("id", "name", "method", "status", "preset", "experiment", "seed", "seconds", "created")
"""What lists are sorted by, besides metrics."""
RUN_OPTIONS = ("--baseline",)
"""Options whose value is a run."""


def answer(environment: Mapping[str, str]) -> str | None:
    """Return what the shell is told; None if Typer must complete."""
    shell = environment["_EETUI_COMPLETE"]
    words, word = (_bash if shell == "complete_bash" else _line)(environment)
    found = values(words, word, environment)
    if found is None:
        return None
    if shell == "complete_zsh":
        quoted = "\n".join(f'"{_escaped(value)}"' for value in found)
        return f"_arguments '*: :(({quoted}))'" if found else "_files"
    return "\n".join(found)


def values(words: Sequence[str], word: str, environment: Mapping[str, str]) -> list[str] | None:
    """Return the values that complete a word; None if it is none of those.

    Args:
        words: the words before it, without the program's name.
    """
    before = words[-1] if words else ""
    plain = [one for last, one in pairwise(["", *words]) if last != "--db" and not one.startswith("-")]
    command = " ".join(plain[: 2 if plain[0] in GROUPS else 1]) if plain else ""
    for option in (f"{command} {before}", before):
        if option in CHOICES:
            return [choice for choice in CHOICES[option] if choice.startswith(word)]
        if option in OF_OPTIONS:
            return OF_OPTIONS[option](word)
    if before in RUN_OPTIONS:
        return runs(word, database(words, environment))
    if word.startswith("-") or (before.startswith("-") and before not in FLAGS):
        return None
    if command in OF_RUNS or command in OF_DELETED:
        return runs(word, database(words, environment), deleted=command in OF_DELETED)
    return sweeps(word, database(words, environment)) if command in OF_SWEEPS and len(plain) == 2 else None


def methods(word: str) -> list[str]:
    """Return the built-in exit methods that begin so."""
    from core.extensions.kinds import EXIT_METHODS

    return [name for name in EXIT_METHODS.built_in if name.startswith(word)]


def presets(word: str) -> list[str]:
    """Return the presets that begin so."""
    from core import config

    found = (Path(config.__path__[0]) / "presets").glob("*.toml")
    return sorted(path.stem for path in found if path.stem.startswith(word))


def config_keys(word: str) -> list[str]:
    """Return the config keys that begin so, or whose leaf does, each with the `=` that follows."""
    names = list(_leaves("RunConfig", _sections()))
    leaves = [leaf for name in names if (leaf := name.rpartition(".")[2]).startswith(word or "\0")]
    return [f"{name}=" for name in dict.fromkeys((*(name for name in names if name.startswith(word)), *leaves))]


def metrics(word: str) -> list[str]:
    """Return the metrics that begin so, by their names in filters; the last one of some with commas between them."""
    from core.metrics import STORED

    before, comma, last = word.rpartition(",")
    return [f"{before}{comma}{column.word}" for column, _ in STORED if column.word.startswith(last)]


def sorts(word: str) -> list[str]:
    """Return what lists are sorted by that begins so."""
    return [name for name in (*OTHER_SORTS, *metrics("")) if name.startswith(word)]


def _sections() -> dict[str, list[tuple[str, str]]]:
    """Return name and type of each field of the config's sections, read without importing them (and pydantic)."""
    import ast

    from core import config

    found = dict[str, list[tuple[str, str]]]()
    for file in ("sections.py", "run_config.py"):
        for node in ast.parse((Path(config.__path__[0]) / file).read_bytes()).body:
            if isinstance(node, ast.ClassDef):
                fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
                found[node.name] = [(ast.unparse(part.target), ast.unparse(part.annotation)) for part in fields]
    return found


def _leaves(section: str, sections: Mapping[str, list[tuple[str, str]]], prefix: str = "") -> Iterator[str]:
    for name, kind in sections[section]:
        if kind in sections:
            yield from _leaves(kind, sections, f"{prefix}{name}.")
        else:
            yield prefix + name


def runs(word: str, path: Path, *, deleted: bool = False) -> list[str]:
    """Return the newest runs, or deleted ones, whose name, or number, begins so; none if the database can't be read."""
    number, table = ("run_id", "bin") if deleted else ("id", "runs")
    column = f"CAST({number} AS TEXT)" if word.isdecimal() else "name"
    kept = "" if deleted else "AND id NOT IN (SELECT run_id FROM bin) "
    return _beginning(
        word, f"SELECT {column} FROM {table} WHERE substr({column}, 1, ?) = ? {kept}ORDER BY {number}", path
    )


def sweeps(word: str, path: Path) -> list[str]:
    """Return the newest sweeps whose name, or number, begins so; none if the database can't be read."""
    column = "CAST(id AS TEXT)" if word.isdecimal() else "name"
    return _beginning(word, f"SELECT {column} FROM sweeps WHERE substr({column}, 1, ?) = ? ORDER BY id", path)


def _beginning(word: str, query: str, path: Path) -> list[str]:
    """Return what a query finds for a word, the last ones first."""
    query += f" DESC LIMIT {MOST_ROWS}"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1)) as connection:
            return [str(row[0]) for row in connection.execute(query, [len(word), word]) if str(row[0]).isprintable()]
    except sqlite3.Error:
        return []


def database(words: Sequence[str], environment: Mapping[str, str]) -> Path:
    """Return the database that a command line is about."""
    for place, word in enumerate(words):
        if word == "--db" and place + 1 < len(words):
            return Path(os.path.expanduser(words[place + 1]))
    if named := environment.get("EETUI_DB"):
        return Path(named)
    from core.errors import EetuiError
    from eetui.console.settings import load_settings

    try:
        return load_settings().db or Path("runs.db")
    except EetuiError:
        return Path("runs.db")


OF_OPTIONS: Mapping[str, Callable[[str], list[str]]] = {
    "--method": methods, "-m": methods, "--preset": presets, "--preset-from": presets, "--set": config_keys,
    "--metrics": metrics, "--metric": metrics, "--objective": metrics, "--sort": sorts,
}  # fmt: skip
"""Options whose values are looked up."""


def _bash(environment: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the words before the one that is completed, and that one."""
    words, place = list(_split(environment.get("COMP_WORDS", ""))), int(environment.get("COMP_CWORD", "0"))
    return words[1:place], words[place] if place < len(words) else ""


def _line(environment: Mapping[str, str]) -> tuple[list[str], str]:
    line = environment.get("_TYPER_COMPLETE_ARGS", "")
    words = list(_split(line))[1:]
    return (words, "") if not words or line.endswith(" ") else (words[:-1], words[-1])


def _split(line: str) -> Iterator[str]:
    """Split a command line that is not complete yet into words."""
    import shlex

    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        yield from lexer
    except ValueError:  # a quotation is open
        yield lexer.token


def _escaped(value: str) -> str:
    for character, instead in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", "\\\\:")):
        value = value.replace(character, instead)
    return value
