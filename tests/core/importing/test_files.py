"""Files of arrays: NumPy's and Parquet hold the same, and what can't be read says why."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from core.importing.files import read_arrays


def test_files_that_are_no_arrays_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", text=np.array(["a", None], dtype=object))
    refusals = {
        "tokens.csv": r"must end with \.npz or \.parquet",
        "none.npz": "there is no file",
        "text.npz": "can't be read",
        "objects.npz": "text holds Python objects",
    }
    for name, message in refusals.items():
        with pytest.raises(UsageError, match=message):
            read_arrays(tmp_path / name)


def test_parquet_has_a_token_in_each_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {
        "loss_0": [0.5, 1.5], "loss_1": [0.25, 1.0], "prediction": [[1, 2], [3, 4]], "block0.max_prob": [0.1, 0.2],
        "block1.max_prob": [0.3, 0.4], "text": ["a", "b"],
    }  # fmt: skip
    table = pa.table(columns).replace_schema_metadata({"layers": json.dumps([2, 3]), "claims": "rank"})
    pq.write_table(table, tmp_path / "tokens.parquet")
    found = {name: values.tolist() for name, values in read_arrays(tmp_path / "tokens.parquet").items()}
    assert found == {
        "loss": [[0.5, 1.5], [0.25, 1.0]], "prediction": [[1, 3], [2, 4]], "max_prob": [[0.1, 0.2], [0.3, 0.4]],
        "text": ["a", "b"], "layers": [2, 3], "claims": "rank",
    }  # fmt: skip
    pq.write_table(pa.table({"loss_0": [0.5, None], "loss_2": [1.0, 1.0]}), tmp_path / "tokens.parquet")
    with pytest.raises(UsageError, match="loss_0 is empty in row 1"):
        read_arrays(tmp_path / "tokens.parquet")
