"""Text from Hugging Face datasets: `hub:NAME[:CONFIG]`, NAME on the hub or a local dataset folder."""

import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.data.readers._contract import CorpusReader, Texts
from core.errors import CorpusError

PREFIX = "hub:"
EVALUATION_SPLITS = ("validation", "test")
LOGGERS = ("datasets", "huggingface_hub", "fsspec", "filelock")


@dataclass(frozen=True)
class HubDataset:
    """A loaded dataset; `splits` are `datasets.Dataset` objects by name."""

    reference: str
    splits: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        """Whether there is a split of one of these names."""
        return any(name in self.splits for name in names)

    def text(self, *names: str) -> Iterator[str]:
        """Read the text of the first of these splits that exists, lazily, a line or more for each row.

        Raises:
            CorpusError: there is none of them, or no column is known to hold the text.
        """
        name = next((name for name in names if name in self.splits), None)
        if name is None:
            raise CorpusError(
                f"corpus {self.reference} has no {' or '.join(names)} split, only {', '.join(self.splits)}: "
                "choose another dataset or config"
            )
        split = self.splits[name]
        yield from map(_as_lines, _rows(split, self._text_column(split)))

    def _text_column(self, split: Any) -> str:
        columns: list[str] = split.column_names
        strings = [name for name in columns if getattr(split.features[name], "dtype", "") in ("string", "large_string")]
        if "text" in strings:
            return "text"
        if len(strings) != 1:
            raise CorpusError(
                f"corpus {self.reference} must have a text column named text, or one string column only, "
                f"got columns {', '.join(columns)}: export the right one to a text file"
            )
        return strings[0]


def load_hub(reference: str) -> HubDataset:
    """Load the dataset that `hub:NAME[:CONFIG]` names, from the hub, its local cache, or a local folder; silently.

    Raises:
        CorpusError: `datasets` is not installed, the hub is out of reach, or there is no such dataset or
            config.
    """
    name, _, config = reference.removeprefix(PREFIX).partition(":")
    if not name:
        raise CorpusError(f"corpus {reference} names no dataset: write hub:NAME or hub:NAME:CONFIG")
    try:
        import datasets  # an optional extra, and a second of imports
    except ImportError as error:
        raise CorpusError(
            f"corpus {reference} needs the package datasets ({error}): pip install 'eetui[hub]'"
        ) from error
    try:
        with _silence():
            return HubDataset(reference, datasets.load_dataset(os.path.expanduser(name), config or None))
    except Exception as error:  # the library lets through whatever its parsers and its network stack raise
        raise CorpusError(f"corpus {reference} {_explanation(error, name)}") from error


def _explanation(error: Exception, name: str) -> str:
    """Say what went wrong and what to do, to follow the reference."""
    message = " ".join(str(error).split())
    if isinstance(error, ConnectionError):
        return f"is out of reach: {message}; check the network, or use a local file or pydocs"
    if isinstance(error, FileNotFoundError):
        return f"is unknown: {message}; check the name, and that you have access"
    listed = re.search(r"config.*\[(.+?)\]", message, re.IGNORECASE)
    if isinstance(error, ValueError) and listed:
        configs = listed[1].replace("'", "")
        return f"needs a config that exists: write hub:{name}:CONFIG with one of {configs}"
    return f"can't be loaded: {type(error).__name__}: {message}; check the dataset, or use a local file"


def _rows(split: Any, column: str) -> Iterator[str | None]:
    for batch in split.select_columns([column]).iter(batch_size=1000):
        yield from batch[column]


def _as_lines(row: str | None) -> str:
    text = row or ""
    return text if text.endswith("\n") else text + "\n"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the libraries off the terminal, which may show a screen: no bars, log lines or warnings."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(action="ignore"), _no_progress_bars(_libraries_with_bars()):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _libraries_with_bars() -> list[Any]:
    import datasets.utils
    import huggingface_hub.utils

    libraries: list[Any] = [datasets.utils, huggingface_hub.utils]
    return [library for library in libraries if not library.are_progress_bars_disabled()]


@contextmanager
def _no_progress_bars(libraries: Iterable[Any]) -> Iterator[None]:
    for library in libraries:
        library.disable_progress_bars()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bars()


class Hub(CorpusReader):
    """A dataset with its own splits: validation, else test, is evaluated on."""

    usage = "hub:NAME[:CONFIG]"
    needs_argument = True

    def read(self, argument: str) -> Texts:
        dataset = load_hub(PREFIX + argument)
        evaluation = dataset.text(*EVALUATION_SPLITS) if dataset.has(*EVALUATION_SPLITS) else None
        return Texts(dataset.text("train"), evaluation)


READER = Hub()
