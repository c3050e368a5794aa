"""Local text: a file, a folder or a glob, read as one text."""

import codecs
import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.data.readers._contract import CorpusReader, Texts
from core.errors import CorpusError
from core.extensions.kinds import CORPUS_READERS

SUFFIXES = (".txt", ".md", ".rst", ".py")
READ_SUFFIXES = f"{' '.join(SUFFIXES)}, each also with .gz"
JSON_LINES, TEXT_COLUMN = (".jsonl", ".ndjson"), "text"
PARQUET = b"PAR1"
MOST_BYTES, CHUNK_BYTES = 1 << 29, 1 << 20
"""Size of the largest corpus, decompressed, and of the parts that it is read in."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""In the order to look for them: that of UTF-32 begins like that of UTF-16."""


def read_files(reference: str) -> str:
    """Read the text of a path or glob; several files in sorted order, joined by newlines.

    A folder is searched at any depth; what is hidden in it is skipped. A glob knows `**`; `~` is the home
    folder. Line ends (CR LF, CR) become newlines, so that a corpus gives the same tokens wherever it was checked
    out.

    Raises:
        CorpusError: nothing is there, it can't be read, it is no text, or there is more than `MOST_BYTES` of it.
    """
    texts, room = [], MOST_BYTES
    with _explaining(reference):
        for path in find_files(reference):
            texts.append(_read(path, room))
            room -= len(texts[-1])
    return "\n".join(texts)


def find_files(reference: str) -> list[Path]:
    """Return the files of a path or glob, in sorted order.

    Raises:
        CorpusError: there are none, or they can't be looked for.
    """
    with _explaining(reference):
        return _find(os.path.expanduser(reference))


def _find(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return _text_files(_walk(path), f"no text file in the folder {path}")
    if path.is_file():
        return [path]
    if path.exists():
        raise CorpusError(f"corpus {path} is neither a file nor a folder: copy its content to a text file")
    if glob.has_magic(pattern):
        matches = [Path(match) for match in glob.iglob(pattern, recursive=True)]
        return _text_files(matches, f"no text file matches {pattern}")
    raise CorpusError(
        f"corpus {path} does not exist: check it, or give another of {', '.join(CORPUS_READERS.said('usage'))}"
    )


def _text_files(candidates: list[Path], complaint: str) -> list[Path]:
    paths = sorted({path for path in candidates if _is_text(path) and path.is_file()})
    if not paths:
        raise CorpusError(f"corpus: {complaint}; the suffixes read are {READ_SUFFIXES}")
    return paths


def _is_text(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def _walk(root: Path) -> list[Path]:
    paths: list[Path] = []
    for folder, subfolders, files in os.walk(root, onerror=_refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        paths += [Path(folder) / name for name in files if not name.startswith(".")]
    return paths


def _refuse(error: OSError) -> None:
    """Refuse a folder that can't be listed: it must not silently shrink the corpus."""
    raise error


def _read(path: Path, room: int) -> str:
    """Read a file as text.

    Args:
        room: bytes that it may have, decompressed.
    """
    content = _content(path, room)
    if content.startswith(PARQUET):
        raise CorpusError(
            f"corpus {path} is Parquet, which is no text: write its text column to a .txt file, or name a reader of "
            f"your own (docs/corpora.md)"
        )
    text = _decode(content, path).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return _text_column(text, path) if path.name.lower().removesuffix(".gz").endswith(JSON_LINES) else text


def _content(path: Path, room: int) -> bytes:
    """Read a file's bytes, decompressed where its name ends in .gz, a part at a time, as there is room for."""
    opened = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")
    parts, size = [], 0
    try:
        with opened as file:
            while part := file.read(CHUNK_BYTES):
                parts.append(part)
                size += len(part)
                if size > room:
                    raise CorpusError(
                        f"corpus {path} is too large: more than {MOST_BYTES:,} bytes of text, decompressed; take "
                        f"a part of it"
                    )
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"corpus {path} is not a valid gzip file ({error}): compress or copy it again") from error
    return b"".join(parts)


def _decode(content: bytes, path: Path) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 by their byte order marks."""
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        look = "; it contains NUL bytes, so it looks binary, or like UTF-16" if b"\0" in content else ""
        raise CorpusError(
            f"corpus {path} is not {encoding.upper()} text (invalid byte at offset {error.start}{look}): "
            "convert it to UTF-8 or leave it out"
        ) from error


def _text_column(text: str, path: Path) -> str:
    """Return the field `text` of every line of a JSON Lines file, a line each."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"corpus {path} is not JSON Lines (line {number}: {error}): correct it") from error
            value = record.get(TEXT_COLUMN) if isinstance(record, dict) else record
            if not isinstance(value, str):
                raise CorpusError(
                    f"corpus {path} has no text in the field {TEXT_COLUMN!r} of line {number}: write the text to a "
                    f".txt file, or name a reader of your own (docs/corpora.md)"
                )
            found.append(value.encode("utf-8", "replace").decode())  # JSON can hold halves of characters
    return "\n".join(found)


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = error.filename or name
        reason = error.strerror or error
        raise CorpusError(f"corpus {path} can't be read ({reason}): check the path and its permissions") from error
    except ValueError as error:  # a NUL in a glob
        raise CorpusError(f"corpus {name!r} can't be a path ({error}): check its spelling") from error


class Files(CorpusReader):
    """Files by path or glob: the reader of every reference that names no other."""

    usage = "a path or glob"
    needs_argument = True

    def read(self, argument: str) -> Texts:
        return Texts([read_files(argument)])


READER = Files()
