"""Type of the file system that a file is on."""

import re
from pathlib import Path

NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf",
}  # fmt: skip
"""Types of file systems that several hosts may write, so that memory mapped on one is not what another sees."""
MOUNTS = Path("/proc/self/mountinfo")


def file_system(file: Path) -> str | None:
    """Return the type of the file system that a file or folder is on, such as ext4; None where it is not told."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    found, place = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if len(point.parts) >= place and file.is_relative_to(point):  # the last of those at one place is on top
            found, place = after.split()[0], len(point.parts)
    return found


def is_network(kind: str | None) -> bool:
    """Tell whether a type is that of a network file system."""
    return kind in NETWORK
