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
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    np.savez_compressed(tmp_path / "damaged.npz", loss=np.random.default_rng(0).random(999))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[200:900] = bytes(700)
    (tmp_path / "damaged.npz").write_bytes(content)
    refusals = {
        "tokens.csv": r"must end with \.npz or \.parquet",
        "none.npz": "there is no file",
        "text.npz": "can't be read",
        "objects.npz": "text holds Python objects",
        "single.npz": "is one array",
        "damaged.npz": "can't be read as an .npz file",
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
    found = {name: values.tolist() for name, values in read_arrays(tmp_path / "tokens.parquet")[0].items()}
    assert found == {
        "loss": [[0.5, 1.5], [0.25, 1.0]], "prediction": [[1, 3], [2, 4]], "max_prob": [[0.1, 0.2], [0.3, 0.4]],
        "text": ["a", "b"], "layers": [2, 3], "claims": "rank",
    }  # fmt: skip
    pq.write_table(pa.table({"loss_0": [0.5, None], "loss_2": [1.0, 1.0]}), tmp_path / "tokens.parquet")
    with pytest.raises(UsageError, match="loss_0 is empty in row 1"):
        read_arrays(tmp_path / "tokens.parquet")


def test_what_means_nothing_here_is_named_and_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "tokens.npz", loss=np.zeros(2), about=np.array([{"model": "mine"}], dtype=object))
    found, unused = read_arrays(tmp_path / "tokens.npz")
    assert (list(found), unused) == (["loss"], ("about",))
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"loss_0": [0.5, 1.5], "top_5": [1, 0], "note": pa.array([None, None], pa.string())}
    pq.write_table(pa.table(columns).replace_schema_metadata({"made_by": "us"}), tmp_path / "tokens.parquet")
    found, unused = read_arrays(tmp_path / "tokens.parquet")
    assert (list(found), unused) == (["loss"], ("made_by", "top_5", "note"))


def test_texts_of_every_kind_of_column_are_texts(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    words = pa.array(["a", "b", "a"])
    for column in (words, words.dictionary_encode(), words.cast(pa.large_string()), words.cast(pa.string_view())):
        pq.write_table(pa.table({"text": column}), tmp_path / "tokens.parquet")
        found, _ = read_arrays(tmp_path / "tokens.parquet")
        assert (found["text"].dtype.kind, found["text"].tolist()) == ("U", ["a", "b", "a"])


@pytest.mark.parametrize("other", ["loss", "loss_00", "block0.loss"])
def test_an_exit_that_is_there_twice_is_refused(other: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"loss_0": [0.5], other: [1.0]}), tmp_path / "tokens.parquet")
    with pytest.raises(UsageError, match="loss of exit 0 is there twice"):
        read_arrays(tmp_path / "tokens.parquet")


def test_metadata_too_deep_to_be_read_are_no_array(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({}).replace_schema_metadata({"costs": "[" * 100_000}), tmp_path / "tokens.parquet")
    assert read_arrays(tmp_path / "tokens.parquet")[0]["costs"].shape == ()
