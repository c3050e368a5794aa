"""Local text: a file, a folder or a glob, read as one text."""

import glob
import gzip
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


def read_files(reference: str) -> str:
    """Read the text of a path or glob; several files in sorted order, joined by newlines.

    A folder is searched at any depth; what is hidden in it is skipped. A glob knows `**`; `~` is the home
    folder. Line ends become newlines, so that a corpus gives the same tokens wherever it was checked out.

    Raises:
        CorpusError: nothing is there, it can't be read, or it is no UTF-8 text.
    """
    with _explaining(reference):
        return "\n".join(_read(path) for path in _find(os.path.expanduser(reference)))


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


def _read(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = _decompress(content, path)
    return _decode(content, path).removeprefix("\ufeff").replace("\r\n", "\n")


def _decompress(content: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"corpus {path} is not a valid gzip file ({error}): compress or copy it again") from error


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        look = "; it contains NUL bytes, so it looks binary, or like UTF-16" if b"\0" in content else ""
        raise CorpusError(
            f"corpus {path} is not UTF-8 text (invalid byte at offset {error.start}{look}): "
            "convert it to UTF-8 or leave it out"
        ) from error


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
