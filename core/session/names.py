"""Rules for the names of runs and for tags."""

from collections.abc import Sequence

from core.config.messages import shortened
from core.errors import ConfigError


def require_plain(what: str, text: str) -> None:
    """Check a text that terminals show: no control characters, nothing invisible.

    Raises:
        ConfigError: the text is empty, too long or not printable; `what` names it in the message.
    """
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise ConfigError(f"{what} must be 1 to 200 printable characters, got {shortened(text)!r}")


def require_name(what: str, text: str) -> None:
    """Check a run's name: it must not read as a run number or a column of the report.

    Raises:
        ConfigError: it does, or is not plain; `what` names it in the message.
    """
    require_plain(what, text)
    if text.isdecimal() or text.startswith("report:"):
        raise ConfigError(
            f"{what} must not be a number or start with report:, got {shortened(text)!r}: these name other things"
        )


def require_tag(what: str, text: str) -> None:
    """Check a tag: one plain word.

    Raises:
        ConfigError: it is not; `what` names it in the message.
    """
    require_plain(what, text)
    if len(text.split()) != 1:
        raise ConfigError(f"{what} must be one word, got {shortened(text)!r}: use the option again for another tag")


def require_list(what: str, texts: Sequence[str]) -> None:
    """Check a list of texts: a single text would be taken for the list of its letters.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(texts, str):
        raise ConfigError(f"{what} must be a list of texts, such as [{shortened(texts)!r}], got one text")
