"""Cached files: read back whole or not at all."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.cache import cache_dir, recall, remember, write_atomically


def test_what_is_remembered_is_recalled_to_the_byte(cache: Path) -> None:
    content = b"first\nsecond\r\n\0\xff"
    remember("name", content)
    assert recall("name") == content
    assert [path.name for path in cache.iterdir()] == ["name"]


def test_empty_content_is_recalled_as_empty_not_as_missing() -> None:
    remember("name", b"")
    assert recall("name") == b""


def test_what_was_never_remembered_is_missing() -> None:
    assert recall("name") is None


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" + raw]
)
def test_a_damaged_file_counts_as_missing(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    remember("name", b"some content")
    stored = cache / "name"
    stored.write_bytes(damage(stored.read_bytes()))
    assert recall("name") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("EETUI_CACHE", str(blocked))
    remember("name", b"content")
    assert recall("name") is None


def test_the_environment_chooses_the_folder_and_may_say_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("EETUI_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "mine"


def test_without_the_environment_the_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EETUI_CACHE")
    assert "eetui" in cache_dir().parts


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomically(taken, b"content")
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_a_file_follows_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_write_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"old, and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
