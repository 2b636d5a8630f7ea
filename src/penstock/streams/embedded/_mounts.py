"""On which kind of file system a folder lies.

Locks do not reach from one kernel to another, so on a file system that several machines see (or a machine and its
guests), two servers could write one append-only file.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["file_system", "is_shared", "kind_of_mount", "mounts_of_bsd", "mounts_of_linux"]

_SHARED = re.compile(
    r"9p|acfs|afpfs|afs|beegfs|ceph|cephfs|cifs|coda|drvfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs[34]?|ocfs2|orangefs|panfs"
    r"|prl_fs|smb[23]?|smbfs|vboxsf|virtiofs|vmhgfs|webdav"
    r"|fuse\.(blobfuse2?|ceph|ceph-fuse|cephfs|davfs2?|gcsfuse|glusterfs|goofys|grpcfuse|juicefs|mfs|moosefs|osxfs|rclone|s3fs"
    r"|s3ql|seaweedfs|sshfs|vmhgfs-fuse)",
    re.IGNORECASE,
)


def is_shared(kind: str) -> bool:
    """Whether machines other than this one may see a file system of this kind at the same time."""
    return _SHARED.fullmatch(kind) is not None


def file_system(folder: Path) -> str | None:
    """The kind of file system *folder* (resolved) lies on, such as ``"ext4"`` or ``"nfs4"``; nothing where unknown."""
    try:
        if sys.platform == "linux":
            table = Path("/proc/self/mountinfo").read_bytes()
        else:
            table = subprocess.run(["/sbin/mount"], capture_output=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    mounts = mounts_of_linux if sys.platform == "linux" else mounts_of_bsd
    return kind_of_mount(folder, mounts(table.decode(errors="surrogateescape")))


def kind_of_mount(folder: Path, mounts: Iterator[tuple[Path, str]]) -> str | None:
    """The kind of the mount that *folder* is on: the deepest one above it, and of several there the latest."""
    deepest, found = -1, None
    for point, kind in mounts:
        if len(point.parts) >= deepest and folder.is_relative_to(point):
            deepest, found = len(point.parts), kind
    return found


def mounts_of_linux(table: str) -> Iterator[tuple[Path, str]]:
    """Mount points with their kinds, in order, from ``/proc/self/mountinfo``. Source: proc_pid_mountinfo(5)."""
    for line in table.splitlines():
        place, separator, what = line.partition(" - ")
        fields = place.split(" ")
        if separator and len(fields) > 4:
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
            yield Path(point), what.split(" ")[0]


def mounts_of_bsd(table: str) -> Iterator[tuple[Path, str]]:
    """Mount points with their kinds, in order, from ``mount`` as macOS and the BSDs print it."""
    for line in table.splitlines():
        match = re.fullmatch(r".*? on (/.*) \(([^,()]+).*\)", line)
        if match:
            yield Path(match[1]), match[2].strip()
