"""Numbers in the fields of the Generate screen."""

from typing import TypeVar

from core.errors import UsageError

Otherwise = TypeVar("Otherwise", float, None)


def whole_number(name: str, text: str) -> int | None:
    """Read a whole number; None if the field is empty.

    Raises:
        UsageError: it is not a whole number.
    """
    try:
        return int(text) if text else None
    except ValueError:
        raise UsageError(f"{name.replace('_', ' ')} must be a whole number, got {text!r}") from None


def number(name: str, text: str, otherwise: Otherwise) -> float | Otherwise:
    """Read a number; `otherwise` if the field is empty.

    Raises:
        UsageError: it is not a number.
    """
    try:
        return float(text) if text else otherwise
    except ValueError:
        raise UsageError(f"{name} must be a number, got {text!r}") from None
