"""The type of a file system is that of the innermost mount."""

from pathlib import Path

import pytest

from core.machine import file_system as module
from core.machine.file_system import file_system, is_network

MOUNTS = """\
22 1 0:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:2 / /home rw,relatime - nfs4 server:/home rw
24 23 0:3 / /home/me/with\\040blank rw - tmpfs tmpfs rw
25 22 0:4 / /twice rw - ext4 /dev/b rw
26 22 0:5 / /twice rw - fuse.sshfs me@there: rw
nonsense
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/etc/runs.db", "ext4"),
        ("/home/me/runs.db", "nfs4"),
        ("/home/me/with blank/runs.db", "tmpfs"),
        ("/homework/runs.db", "ext4"),
        ("/twice/runs.db", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_counts(file: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(module, "MOUNTS", tmp_path / "mountinfo")
    assert file_system(Path(file)) == kind


def test_where_the_system_does_not_tell_there_is_no_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOUNTS", tmp_path / "missing")
    assert file_system(tmp_path) is None


def test_network_file_systems_are_known() -> None:
    assert is_network("nfs4")
    assert not is_network("ext4")
    assert not is_network(None)
