"""Versions of installed packages, without importing them."""

import importlib.metadata
from functools import cache

PACKAGES = ("eetui", "torch", "tokenizers", "pydantic", "sqlite-utils", "textual", "rich", "typer")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the packages that a run depends on, and of more, as far as they are installed."""
    return {name: version for name in (*PACKAGES, *more) if (version := _version(name))}


@cache  # 2 ms each, for every run of a sweep
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
