"""Read a file of arrays, NumPy's or Parquet, into arrays by their names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from core.importing.names import is_known, of_an_exit

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, NDArray[Any]]
GUIDE = "docs/importing.md shows how to write such a file"
Found = tuple[dict[str, NDArray[Any]], tuple[str, ...]]
"""Arrays by their names, and the names of those that mean nothing here and are not read."""


def read_arrays(path: Path) -> Found:
    """Read the arrays of a file that mean something here, and name the others.

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


def _npz(path: Path) -> Found:
    found, unused, name = dict[str, NDArray[Any]](), list[str](), ""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UsageError(f"{path} is one array, not several by their names: write it by np.savez")
        with file:
            for name in file.files:
                if is_known(name):
                    found[name] = np.asarray(file[name])
                else:
                    unused.append(name)
    except ValueError as error:
        if name and "allow_pickle" in str(error):
            raise UsageError(
                f"{path}: {name} holds Python objects, which are not read: give np.savez arrays of numbers or "
                f"text, such as np.array(words, dtype=str)"
            ) from None
        raise UsageError(f"{path} can't be read: it is no whole .npz file; write it by np.savez") from error
    except UsageError:
        raise
    except Exception as error:  # whatever NumPy raises of a file that is damaged
        raise UsageError(f"{path} can't be read as an .npz file: {error}") from error
    return found, tuple(unused)


def _parquet(path: Path) -> Found:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError('Parquet files need pyarrow: pip install "eetui[parquet]", or write an .npz file') from error
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} can't be read as a Parquet file: {error}") from error
    found, unused = _metadata(table.schema.metadata or {})
    of_exits = dict[str, dict[int, NDArray[Any]]]()
    for column in table.column_names:
        if (of_exit := of_an_exit(column)) is not None:
            name, exit_ = of_exit
            if name in table.column_names or exit_ in of_exits.setdefault(name, {}):
                raise UsageError(f"{path}: {name} of exit {exit_} is there twice, once as {column}: leave one out")
            of_exits[name][exit_] = _column(path, column, table[column])
        elif is_known(column):
            found[column] = _column(path, column, table[column])
        else:
            unused.append(column)
    for name, exits in of_exits.items():
        missing = set(range(len(exits))) - set(exits)
        if missing:
            raise UsageError(f"{path}: {name} has columns for exits {sorted(exits)}, none for exit {min(missing)}")
        found[name] = np.stack([exits[block] for block in range(len(exits))])
    return found, tuple(unused)


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
    word = kind.value_type if pa.types.is_dictionary(kind) else kind  # a categorical of pandas is a dictionary
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return values.astype(str) if any(is_text(word) for is_text in texts) else values


def _metadata(metadata: Mapping[bytes, bytes]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the small arrays that a schema's metadata hold; what other programs left there is passed over."""
    found, unused = dict[str, NDArray[Any]](), list[str]()
    for key, value in metadata.items():
        name = key.decode(errors="replace")
        if name in ("pandas", "ARROW:schema") or not name.isidentifier():
            continue
        if not is_known(name):
            unused.append(name)
            continue
        try:
            found[name] = np.array(json.loads(value))
        except (ValueError, RecursionError):
            found[name] = np.array(value.decode(errors="replace"))
    return found, unused
