"""Tables as files, written chunk by chunk: Parquet, and CSV that a spreadsheet takes for no formulas."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UsageError
from eetui.drawing.formats import csv_text
from eetui.exports.schema import Chunk, Column, Table

Writer = Callable[[Path, Table, Iterable[Chunk], Mapping[str, str]], int]


def writer_of(path: Path) -> Writer:
    """Return what writes a table in the format that the suffix of its path says.

    Raises:
        UsageError: the suffix is another one, or pyarrow is needed and missing.
    """
    if path.suffix.lower() == ".csv":
        return write_csv
    if path.suffix.lower() != ".parquet":
        raise UsageError(f"{path}: the format is that of the suffix, .parquet or .csv")
    try:
        from eetui.exports.parquet import write_parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet files need pyarrow, pip install 'eetui[parquet]'; .csv does without"
        ) from error
    return write_parquet


def write_table(path: Path, table: Table, chunks: Iterable[Chunk], about: Mapping[str, str]) -> int:
    """Write a table to a file, which is replaced once the new one is whole; return its number of rows.

    Args:
        about: more for the metadata of a Parquet file.

    Raises:
        UsageError: the suffix is neither, pyarrow is missing, or the file can't be written.
    """
    write = writer_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        os.close(descriptor)
        try:
            rows = write(Path(temporary), table, chunks, about)
            os.chmod(temporary, _usual_mode())
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error
    return rows


def write_csv(path: Path, table: Table, chunks: Iterable[Chunk], about: Mapping[str, str] = {}) -> int:
    """Write a table as UTF-8 text with a line of heads; what is missing is empty, dates are ISO 8601. Return the rows.

    A text that a spreadsheet would take for a formula begins with `'`, so that it is not the exact text.
    """
    rows = 0
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(csv_text([[column.name for column in table.columns]]))
        for chunk in chunks:
            cells = [_cells(chunk[column.name], column) for column in table.columns]
            file.write(csv_text(zip(*cells, strict=True)))
            rows += len(cells[0])
    return rows


def _cells(values: Any, column: Column) -> list[Any]:
    """Return a column's cells; float32 as its shortest decimals."""
    if column.kind == "float32":
        texts = np.ma.getdata(values).astype(str).tolist()
        missing = np.ma.getmaskarray(values).tolist()
        return ["" if gone else text for text, gone in zip(texts, missing, strict=True)]
    if column.kind == "time":
        return [datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds") for value in values]
    return values if isinstance(values, list) else list(values.tolist())


def _usual_mode() -> int:
    """Return the permissions that a new file of this process has."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
