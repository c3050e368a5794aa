"""Corpus readers by the references that name them, built in or users' own.

`NAME` or `NAME:ARGUMENT` names a built-in reader or an installed package's, `reader:path/to/mine.py[:ARGUMENT]` a
user's own file. Everything else is a path or glob.
"""

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from core.data.readers._contract import TOKENIZERS, CorpusReader, Texts
from core.errors import ConfigError, CorpusError, EetuiError
from core.extensions.kinds import CORPUS_READERS
from core.extensions.plugins import Plugin, find, installed, is_path, load

OWN_FILE = "reader:"


@dataclass(frozen=True)
class Source:
    """A reader, and what it is asked for.

    Attributes:
        plugin: where the reader comes from if it is a user's own.
    """

    reference: str
    reader: CorpusReader
    argument: str
    plugin: Plugin | None = None

    def texts(self) -> Texts:
        """Ask the reader.

        Raises:
            CorpusError: the text can't be had.
        """
        with self._explaining():
            texts = self.reader.read(self.argument)
            if not isinstance(texts, Texts):
                raise TypeError(f"read must return Texts, got {type(texts).__name__}")
            return texts

    def joined(self, pieces: Iterable[str]) -> str:
        """Read a text to its end.

        Raises:
            CorpusError: it can't be had.
        """
        with self._explaining():
            return pieces if isinstance(pieces, str) else "".join(pieces)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn whatever a user's own reader raises into one error that says where."""
        try:
            yield
        except Exception as error:
            if self.plugin is None or isinstance(error, EetuiError):
                raise
            place, reason = self.plugin.place_of(error), f"{type(error).__name__}: {error}"
            raise CorpusError(
                f"corpus {self.reference} can't be read: {place}: {reason}; correct the reader ({CORPUS_READERS.guide})"
            ) from error


def source(reference: str) -> Source:
    """Return the source that a config's `corpus` or `eval_corpus` means.

    Raises:
        ConfigError: it names a user's own reader that is not there or no good.
    """
    if reference.startswith(OWN_FILE):
        place, suffix, argument = reference.removeprefix(OWN_FILE).partition(".py:")
        path = place + suffix.removesuffix(":")
        if not is_path(path):
            raise ConfigError(f"corpus {reference} must name a file, such as {OWN_FILE}./mine.py")
        return _own(reference, path, argument)
    name, colon, argument = reference.partition(":")
    found = None
    if name in CORPUS_READERS.built_in:
        found = Source(reference, _built_in(name), argument)
    elif name in installed(CORPUS_READERS):
        found = _own(reference, name, argument)
    if found is None or (found.reader.needs_argument and not colon):
        return Source(reference, _built_in("files"), reference)
    return found


def _built_in(name: str) -> CorpusReader:
    reader: CorpusReader = importlib.import_module(f"core.data.readers.{name}").READER
    return reader


def _own(reference: str, place: str, argument: str) -> Source:
    plugin = find(CORPUS_READERS, place)
    return Source(reference, _checked(plugin), argument, plugin)


@cache
def _checked(plugin: Plugin) -> CorpusReader:
    """Load a user's own reader and hold it to the contract.

    Raises:
        ConfigError: it does not run, or does not keep the contract.
    """
    reader = load(plugin)
    if not isinstance(reader, CorpusReader):
        reason = f"READER must be an instance of a subclass of CorpusReader, such as Mine(), got {reader!r:.60}"
        raise plugin.refused(plugin.line_of(plugin.attribute), reason)
    parts = (
        ("usage", isinstance(getattr(reader, "usage", None), str), "text that says how a reference is written"),
        ("needs_argument", isinstance(reader.needs_argument, bool), "True or False"),
        ("tokenizer", reader.tokenizer in TOKENIZERS, f"one of {', '.join(TOKENIZERS)}"),
    )
    for part, holds, what in parts:
        if not holds:
            raise plugin.refused(
                plugin.line_of(part, type(reader).__name__),
                f"{part} must be {what}, got {getattr(reader, part, None)!r}",
            )
    return reader
