"""What a run, a tag and a note may be called."""

from core.errors import ConfigError


def require_plain(what: str, text: str) -> None:
    """Names and tags are shown on terminals: no control characters, nothing invisible.

    Raises:
        ConfigError: the text is empty, too long or not printable; `what` names it in the message.
    """
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise ConfigError(f"{what} must be 1 to 200 printable characters, got {text!r}")


def require_name(what: str, text: str) -> None:
    """A run's name must not look like a number or a column of the report, which name other things.

    Raises:
        ConfigError: it does, or is not plain.
    """
    require_plain(what, text)
    if text.isdecimal() or text.startswith("report:"):
        raise ConfigError(f"{what} must not be a number or start with report:, got {text!r}: these name other things")


def require_tag(what: str, text: str) -> None:
    """A tag is one plain word.

    Raises:
        ConfigError: it is not.
    """
    require_plain(what, text)
    if len(text.split()) != 1:
        raise ConfigError(f"{what} must be one word, got {text!r}: use the option again for another tag")
