"""Tables as Parquet files: a row group for each chunk, exact text, and the version of the table in the metadata."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eetui import __version__
from eetui.exports.schema import Chunk, Column, Table, Words

TYPES = {
    "int64": pa.int64(), "int32": pa.int32(), "int16": pa.int16(), "float32": pa.float32(), "float64": pa.float64(),
    "bool": pa.bool_(), "text": pa.string(), "word": pa.dictionary(pa.int32(), pa.string()),
    "time": pa.timestamp("us", "UTC"),
}  # fmt: skip


def write_parquet(path: Path, table: Table, chunks: Iterable[Chunk], about: Mapping[str, str]) -> int:
    """Write a table, compressed by zstd; return its number of rows.

    The metadata holds `eetui.table`, `eetui.table_version`, `eetui.version` and what `about` says.
    """
    facts = {"eetui.table": table.name, "eetui.table_version": str(table.version), "eetui.version": __version__}
    fields = [
        pa.field(column.name, TYPES[column.kind], metadata={"meaning": column.meaning}) for column in table.columns
    ]
    schema = pa.schema(fields, metadata={**facts, **about})
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in chunks:
            arrays = [_array(chunk[column.name], column) for column in table.columns]
            batch = pa.record_batch(arrays, schema=schema)
            writer.write_batch(batch, row_group_size=max(batch.num_rows, 1))
            rows += batch.num_rows
    return rows


def _array(values: Any, column: Column) -> Any:
    kind = TYPES[column.kind]
    if isinstance(values, Words):
        codes = pa.array(np.ma.getdata(values.codes), pa.int32(), mask=np.ma.getmaskarray(values.codes))
        return pa.DictionaryArray.from_arrays(codes, pa.array(map(_text, values.texts), pa.string()))
    if column.kind == "time":
        return pa.array([round(value * 1e6) for value in values], pa.int64()).cast(kind)
    if isinstance(values, list):
        if column.kind in ("text", "word"):
            values = [None if value is None else _text(value) for value in values]
        array = pa.array(values, pa.string() if column.kind == "word" else kind)
        return array.dictionary_encode() if column.kind == "word" else array
    return pa.array(np.ma.getdata(values), kind, mask=np.ma.getmaskarray(values))


def _text(text: str) -> str:
    """Return a text that UTF-8 can hold: half a surrogate pair is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
