"""Read a file of arrays, NumPy's or Parquet, into arrays by their names."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, NDArray[Any]]
GUIDE = "docs/importing.md shows how to write such a file"
_OF_AN_EXIT = (re.compile(r"(?P<name>\w+?)[_.](?P<exit>\d+)"), re.compile(r"block(?P<exit>\d+)\.(?P<name>\w+)"))
"""Names of columns of one exit: `loss_0`, `loss.0`, and `block0.loss`."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file.

    Of a Parquet file each row is a token; columns `loss_0`, `loss_1`, … or one column of lists are the array `loss`,
    `[K, N]`, and the schema's metadata are small arrays, written as JSON.

    Raises:
        UsageError: the file can't be read, is of another kind, or needs a library that is not installed.
    """
    if path.suffix not in (".npz", ".parquet"):
        raise UsageError(f"{path} must end with .npz or .parquet: {GUIDE}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return _npz(path) if path.suffix == ".npz" else _parquet(path)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    found, name = dict[str, NDArray[Any]](), ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                found[name] = file[name]
    except ValueError as error:
        if name:
            raise UsageError(
                f"{path}: {name} holds Python objects, which are not read: give np.savez arrays of numbers or "
                f"text, such as np.array(words, dtype=str)"
            ) from None
        raise UsageError(f"{path} can't be read: it is no .npz file; write it by np.savez") from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path} can't be read as an .npz file: {error}") from error
    return found


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError('Parquet files need pyarrow: pip install "eetui[parquet]", or write an .npz file') from error
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} can't be read as a Parquet file: {error}") from error
    found, of_exits = _metadata(table.schema.metadata or {}), dict[str, dict[int, NDArray[Any]]]()
    for column in table.column_names:
        values = _column(path, column, table[column])
        if of_exit := next((match for form in _OF_AN_EXIT if (match := form.fullmatch(column))), None):
            of_exits.setdefault(of_exit["name"], {})[int(of_exit["exit"])] = values
        else:
            found[column] = values
    for name, exits in of_exits.items():
        missing = set(range(len(exits))) - set(exits)
        if missing:
            raise UsageError(f"{path}: {name} has columns for exits {sorted(exits)}, none for exit {min(missing)}")
        found[name] = np.stack([exits[block] for block in range(len(exits))])
    return found


def _column(path: Path, name: str, column: "pa.ChunkedArray") -> NDArray[Any]:
    """Return a column as an array `[N]`, one of lists as `[K, N]`."""
    import pyarrow as pa

    if column.null_count:
        row = column.is_null().to_numpy(zero_copy_only=False).argmax()
        raise UsageError(f"{path}: {name} is empty in row {row}: every token needs a value")
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lists = column.to_pylist()
        sizes = np.array([len(values) for values in lists])
        if len(sizes) and (sizes != sizes[0]).any():
            row = int((sizes != sizes[0]).argmax())
            raise UsageError(f"{path}: {name} has {sizes[row]} values in row {row}, and {sizes[0]} in row 0")
        return np.array(lists).T
    values: NDArray[Any] = column.to_numpy()
    return values.astype(str) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else values


def _metadata(metadata: Mapping[bytes, bytes]) -> dict[str, NDArray[Any]]:
    """Return the small arrays that a schema's metadata hold; what other programs left there is passed over."""
    found = dict[str, NDArray[Any]]()
    for key, value in metadata.items():
        name = key.decode(errors="replace")
        if name in ("pandas", "ARROW:schema") or not name.isidentifier():
            continue
        try:
            found[name] = np.array(json.loads(value))
        except ValueError:
            found[name] = np.array(value.decode(errors="replace"))
    return found
