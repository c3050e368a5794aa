"""Local text: which files are read, in which order, and what is refused."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.readers.files import read_files
from core.errors import CorpusError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", ["a.txt", "no_suffix", "data.csv"])
def test_a_file_named_outright_is_read_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    assert read_files(str(write(tmp_path / name, "Zwölf Boxkämpfer\n"))) == "Zwölf Boxkämpfer\n"


@pytest.mark.parametrize("name", ["a.txt.gz", "a.GZ"])
def test_a_gz_file_is_decompressed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress("grün\n".encode()))
    assert read_files(str(path)) == "grün\n"


def test_several_gz_members_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    assert read_files(str(path)) == "one two"


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    assert read_files(str(write(tmp_path / "a.txt", "\ufeffone\r\ntwo\r\n"))) == "one\ntwo\n"


def test_a_folder_is_read_at_any_depth_in_sorted_order(tmp_path: Path) -> None:
    for name in ("z.txt", "b/2.md", "b/1.rst", "a.py", "b/deep/er/0.TXT"):
        write(tmp_path / name, name)
    assert read_files(str(tmp_path)) == "\n".join(["a.py", "b/1.rst", "b/2.md", "b/deep/er/0.TXT", "z.txt"])


def test_the_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    names = ["c.txt", "a/x.txt", "b.txt", "a.txt"]
    for number, order in enumerate((names, names[::-1])):
        for name in order:
            write(tmp_path / str(number) / name, name)
    assert read_files(str(tmp_path / "0")) == read_files(str(tmp_path / "1"))


def test_a_folder_reads_text_suffixes_only_plain_or_gz(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "plain")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "c.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "d.tar.gz").write_bytes(b"no text")
    assert read_files(str(tmp_path)) == "plain\npacked"


def test_hidden_files_and_folders_are_skipped_in_a_folder(tmp_path: Path) -> None:
    root = tmp_path / ".hidden_root_is_fine"
    for name in ("seen.txt", ".hidden.txt", ".git/config.txt", "sub/.also/hidden.txt"):
        write(root / name, name)
    assert read_files(str(root)) == "seen.txt"


def test_a_glob_takes_what_matches_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b1.txt", "a2.txt", "a1.txt", "a3.bin", ".a0.txt", "sub/a4.txt"):
        write(tmp_path / name, name)
    assert read_files(f"{tmp_path}/a*") == "a1.txt\na2.txt"
    assert read_files(f"{tmp_path}/**/a*.txt") == "a1.txt\na2.txt\nsub/a4.txt"


def test_a_path_that_looks_like_a_glob_is_taken_as_it_is_when_it_exists(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", "matched")
    assert read_files(str(write(tmp_path / "[1].txt", "named"))) == "named"


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "a.txt", "at home")
    assert read_files("~/a.txt") == "at home"
    assert read_files("~/*.txt") == "at home"


def test_a_missing_path_is_refused_and_the_choices_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"gone\.txt does not exist: check it, or give another of a path or glob, hub:"
    ):
        read_files(str(tmp_path / "gone.txt"))


def test_a_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no text file matches .*\*\.txt; the suffixes read are \.txt"):
        read_files(f"{tmp_path}/*.txt")


def test_a_glob_that_matches_folders_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CorpusError, match="no text file matches"):
        read_files(f"{tmp_path}/*.txt")


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    write(tmp_path / ".hidden.txt", "hidden")
    with pytest.raises(CorpusError, match="no text file in the folder"):
        read_files(str(tmp_path))


def test_text_that_is_not_utf8_is_refused_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("café au lait".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin\.txt is not UTF-8 text \(invalid byte at offset 3\): convert it"):
        read_files(str(path))


def test_nul_bytes_are_mentioned_when_a_file_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "wide.txt"
    path.write_bytes(b"\xfaw\0i\0d\0e\0")
    with pytest.raises(CorpusError, match=r"offset 0; it contains NUL bytes, so it looks binary, or like UTF-16"):
        read_files(str(path))


def test_one_bad_file_refuses_the_whole_folder(tmp_path: Path) -> None:
    write(tmp_path / "good.txt", "good")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"bad\.txt is not UTF-8"):
        read_files(str(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: b"no gzip at all",
        lambda packed: packed[:5],
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:-1],
        lambda packed: packed[:-8] + bytes(8),
        lambda packed: packed[:10] + b"\xff" + packed[11:],
    ],
    ids=["other content", "cut header", "cut in half", "cut by a byte", "wrong checksum", "wrong block"],
)
def test_a_corrupt_gz_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(b"some text, and some more of it\n" * 10)))
    with pytest.raises(CorpusError, match=r"a\.txt\.gz is not a valid gzip file"):
        read_files(str(path))


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.txt", "secret")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CorpusError, match=r"a\.txt can't be read \(Permission denied\): check the path"):
        read_files(str(path))


def test_a_subfolder_that_may_not_be_listed_is_refused_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.txt", "text")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CorpusError, match=r"closed can't be read \(Permission denied\)"):
        read_files(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="neither a file nor a folder"):
        read_files(str(tmp_path / "pipe"))


@pytest.mark.parametrize("reference", ["x" * 5000, "a\0b", "a\0b/*.txt"], ids=["too long", "NUL", "NUL in a glob"])
def test_an_impossible_path_is_refused(reference: str) -> None:
    with pytest.raises(CorpusError):
        read_files(reference)
