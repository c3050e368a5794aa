"""What is wrong with a model that transformers can't read, in words."""

from pathlib import Path

from core.errors import ConfigError
from core.pretrained.place import Place

MAGIC = b"GGUF"
"""What every GGUF file begins with."""


def unreadable(place: Place, part: str, error: Exception) -> ConfigError:
    """Return the error to raise where transformers could not read a part: a damaged GGUF file, else what it said.

    Args:
        part: such as `the configuration`.
    """
    damage = _damage(place.folder / place.gguf) if place.gguf else ""
    if damage:
        return ConfigError(f"model {place.source} can't be read: {damage}")
    said = " ".join(str(error).split())
    return ConfigError(f"{part} of model {place.source} can't be read: {type(error).__name__}: {said:.300}")


def _damage(path: Path) -> str:
    """Say what is wrong with a GGUF file and what to do; empty if its table of contents and all tensors are there."""
    with path.open("rb") as file:
        begins = file.read(len(MAGIC))
    if not begins:
        return "the file is empty: fetch it again"
    if begins != MAGIC:
        return f"the file does not begin with {MAGIC.decode()}, so it is another kind of file: fetch a GGUF file"
    try:
        from gguf import GGUFReader
    except ImportError:
        return ""
    try:
        GGUFReader(path)
    except Exception as error:  # whatever its parser raises where bytes are missing, or mean nothing
        said = " ".join(str(error).split())
        return (
            f"the file of {path.stat().st_size:,} bytes is cut off or damaged: compare its size with the original's, "
            f"and fetch it again ({type(error).__name__}: {said:.120})"
        )
    return ""
