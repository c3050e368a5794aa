"""The embedded corpus: the documentation that every Python installation carries."""

import ast
import hashlib
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from core.data.cache import recall, remember
from core.data.readers._contract import CorpusReader, Texts
from core.errors import CorpusError

FORMAT = 1  # raise it when the same Python would give another text: cached texts of the old format are left alone
EXCLUDED_FOLDERS = {
    *("site-packages", "dist-packages", "__pycache__"),  # not the standard library, or not source
    "pydoc_data",  # its topics are documents of their own
    *("test", "tests", "idle_test"),
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def pydocs_text() -> str:
    """Language topics and standard library docstrings, some 340,000 words; the same text for the same Python.

    Parsing the library takes seconds, so the text is cached for this exact Python.
    """
    version = hashlib.sha256(f"{FORMAT} {sys.version}".encode()).hexdigest()
    name = f"pydocs-{version[:16]}.txt"
    cached = recall(name)
    if cached is not None:
        return cached.decode()
    text = build_text(topics, Path(sysconfig.get_path("stdlib")))
    remember(name, text.encode())
    return text


def build_text(topics: dict[str, str], library: Path) -> str:
    """Join the topics and the docstrings of a library's files to one text, documents separated by blank lines.

    Documents are sorted by the SHA-256 of their names. In alphabetical order the held-out tail would be
    whatever comes late in the alphabet (`urllib`, `xml`, `zipfile`, or all of the topics): other text than
    the rest. In an order that is fixed but follows nothing, the tail is the same mixture as what comes before.
    """
    documents = [(f"topic/{name}", text) for name, text in topics.items()]
    documents += [(f"stdlib/{path}", _docstrings(library / path)) for path in _sources(library)]
    documents.sort(key=lambda document: hashlib.sha256(document[0].encode()).digest())
    text = "\n\n".join(text for _, text in documents if text)
    return text.encode("utf-8", errors="replace").decode()  # a docstring may hold half of a surrogate pair


def _sources(library: Path) -> Iterator[str]:
    """Python files below a folder, as posix paths relative to it."""
    for folder, subfolders, files in os.walk(library):
        subfolders[:] = set(subfolders) - EXCLUDED_FOLDERS
        yield from ((Path(folder) / file).relative_to(library).as_posix() for file in files if file.endswith(".py"))


def _docstrings(path: Path) -> str:
    """Return a file's docstrings in the order of its lines, separated by blank lines; none if it can't be parsed."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the library's own: invalid escapes and the like
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    documented = [node for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    documented.sort(key=lambda node: getattr(node, "lineno", 0))
    return "\n\n".join(filter(None, map(ast.get_docstring, documented)))


class Pydocs(CorpusReader):
    """The documentation of this Python."""

    usage = "pydocs"
    tokenizer = "bpe"

    def read(self, argument: str) -> Texts:
        if argument:
            raise CorpusError(f"corpus pydocs:{argument} must be pydocs alone: it takes no argument")
        return Texts([pydocs_text()])


READER = Pydocs()
