"""Figures as files, each with its numbers beside it as CSV."""

import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.data.cache import write_atomically
from core.errors import UsageError
from eetui.drawing.formats import free_stem, require_format
from eetui.figures.plot import COLUMN, TEXT, Plot
from eetui.figures.render import FORMATS, Format, render

WIDTHS = {"column": COLUMN, "text": TEXT}
NARROWEST, WIDEST = 4.0, 60.0
FOLDER = Path("figures")


def read_width(text: str) -> float:
    """Read a width: a name, or cm.

    Raises:
        UsageError: it is neither, or too small or large to draw in.
    """
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not NARROWEST <= width <= WIDEST:
        raise UsageError(
            f"--width takes {', '.join(WIDTHS)} or a number of cm from {NARROWEST:g} to {WIDEST:g}, got {text!r}"
        )
    return width


def read_formats(texts: Sequence[str]) -> tuple[Format, ...]:
    """Read formats, each once.

    Raises:
        UsageError: there is no such format.
    """
    for text in texts:
        require_format(text, FORMATS)
    return tuple(one for one in FORMATS if one in texts)


def suffix_format(path: Path) -> Format | None:
    """Return the format that a file's name asks for; None where it has none of their suffixes."""
    return next((one for one in FORMATS if path.suffix.lower() == f".{one}"), None)


def require_known(path: Path) -> None:
    """Refuse a file whose name asks for a picture of another kind.

    Raises:
        UsageError: it does.
    """
    kind = mimetypes.guess_type(path.name)[0] or ""
    if suffix_format(path) is None and (kind.startswith("image/") or kind == "application/postscript"):
        raise UsageError(f"--output {path}: figures are written as {', '.join(FORMATS)}, not as {path.suffix}")


def paths_of(plots: Sequence[Plot], folder: Path) -> list[tuple[Plot, Path]]:
    """Return where the figures go, without the suffixes; of two of one name the later is numbered."""
    names = list[str]()
    for plot in plots:
        names.append(free_stem(plot.name, names))
    return [(plot, folder / name) for plot, name in zip(plots, names, strict=True)]


def require_free(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse to overwrite files.

    Raises:
        UsageError: one is there.
    """
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{more} {'are' if more else 'is'} there already: --force overwrites, --output writes elsewhere"
        )


def beside(stem: Path, suffix: str) -> Path:
    """Return the path of that stem with a suffix; a stem may have dots."""
    return stem.with_name(f"{stem.name}.{suffix}")


def write_plots(
    placed: Sequence[tuple[Plot, Path]], formats: Sequence[Format], width: float, *, force: bool
) -> Iterator[Path]:
    """Write figures and their numbers, and yield the path of each file once it is there.

    Args:
        placed: figures, and their paths without suffix.

    Raises:
        UsageError: a file is there and `force` is not set, or it can't be written; then none of later figures is.
    """
    require_free([beside(stem, suffix) for _, stem in placed for suffix in (*formats, "csv")], force=force)
    for plot, stem in placed:
        for one in formats:
            yield write_file(beside(stem, one), render(plot, width, one))
        yield write_file(beside(stem, "csv"), plot.csv().encode())


def write_file(path: Path, content: bytes) -> Path:
    """Write a file, whose folder is made; one that is there is replaced once the new one is whole.

    Raises:
        UsageError: it can't be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a device or a pipe
        else:
            write_atomically(path.resolve(), content)
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror or error}): --output writes elsewhere") from error
    return path
