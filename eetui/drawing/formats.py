"""JSON as every command and screen writes it."""

from core.valid_json import json_of


def json_text(data: object) -> str:
    """Write data as JSON, unrounded: ASCII, so that terminals get nothing raw; words for what is not finite."""
    return json_of(data, indent=2)
