"""Odd files: each has one outcome, text or one message, and none takes memory without bound."""

import gzip
import json
from pathlib import Path

import pytest

from core.config.run_config import DataConfig
from core.data import tokenizers
from core.data.readers import files
from core.data.readers.files import read_files
from core.data.windows import load_dataset
from core.errors import CorpusError
from tests.hostile import ATTACKS


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_a_bomb_is_left_where_it_passes_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 3 << 20)
    read: list[int] = []
    monkeypatch.setattr(gzip, "open", _counting(gzip.open, read))
    bomb = write(tmp_path / "bomb.gz", gzip.compress(b"a " * (20 << 20)))
    with pytest.raises(CorpusError, match=r"bomb\.gz is too large: more than 3,145,728 bytes of text, decompressed"):
        read_files(bomb)
    assert sum(read) <= 4 << 20


def _counting(real, read):  # type: ignore[no-untyped-def]
    def opened(*arguments):  # type: ignore[no-untyped-def]
        file = real(*arguments)
        plain = file.read
        file.read = lambda size: (part := plain(size), read.append(len(part)))[0]
        return file

    return opened


def test_the_bound_is_of_all_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name, b"x" * 600)
    assert len(read_files(str(tmp_path / "a.txt"))) == 600
    with pytest.raises(CorpusError, match=r"b\.txt is too large"):
        read_files(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str, tmp_path: Path) -> None:
    mark = "" if encoding in ("utf-16", "utf-32", "utf-8-sig") else "\ufeff"
    assert read_files(write(tmp_path / "a.txt", (mark + "grün 🙂\n").encode(encoding))) == "grün 🙂\n"


def test_a_broken_utf_16_text_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"is not UTF-16 text \(invalid byte at offset"):
        read_files(write(tmp_path / "a.txt", "\ufeffab".encode("utf-16-le") + b"x"))


def test_all_line_ends_are_one(tmp_path: Path) -> None:
    assert read_files(write(tmp_path / "a.txt", b"a\rb\r\nc\n\rd")) == "a\nb\nc\n\nd"


def test_other_breaks_are_blanks_between_words() -> None:
    assert tokenizers.WordVocabulary(["a\u2028b\u2029c\x0cd\x85e"]).tokens(range(2, 7)) == list("abcde")


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.jsonl.gz"])
def test_the_text_of_json_lines_is_read(name: str, tmp_path: Path) -> None:
    lines = [json.dumps({"id": 1, "text": text}) for text in ("one\ntwo", "grün", *ATTACKS)]
    content = "\n\n".join(lines).encode()
    content = gzip.compress(content) if name.endswith(".gz") else content
    assert read_files(write(tmp_path / name, content)) == "\n".join(["one\ntwo", "grün", *ATTACKS])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"text": "a"}\n{"body": "b"}', r"no text in the field 'text' of line 2"),
        (b'{"text": 3}', "no text in the field 'text' of line 1"),
        (b"{", r"not JSON Lines \(line 1:"),
        (b"[" * 100_000, "not JSON Lines|no text"),
    ],
)
def test_json_lines_without_text_are_one_message(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=reason):
        read_files(write(tmp_path / "a.jsonl", content))


@pytest.mark.parametrize("name", ["a.parquet", "a.txt"])
def test_parquet_is_told_from_text(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is Parquet, which is no text: write its text column to"):
        read_files(write(tmp_path / name, b"PAR1" + bytes(100)))


def test_a_text_without_blanks_is_told_of_bpe(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "漢字仮名交じり文".encode() * 5000)
    config = DataConfig(corpus=path, seq_len=4, num_samples=20, eval_ratio=0.5)
    with pytest.raises(CorpusError, match=r"hardly any \(--set data\.tokenizer=bpe\)"):
        load_dataset(config, 4)
    bpe = config.model_copy(update={"tokenizer": "bpe", "vocab_size": 300})
    assert len(load_dataset(bpe, 4).train.inputs) >= 20


def test_bpe_learns_from_one_long_word_in_short_pieces() -> None:
    text = "abcdefgh" * 20_000 + " end\n" + "x" * tokenizers.LONGEST_TRAINED + " y"
    pieces = list(tokenizers._short_pieces(text))
    assert "".join(pieces) == text
    assert max(len(word) for piece in pieces for word in piece.split()) == tokenizers.LONGEST_TRAINED
    vocabulary = tokenizers.train_bpe(text, 300)
    assert vocabulary.decode(vocabulary.encode(text)) == text
