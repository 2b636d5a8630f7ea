"""On which kind of file system a folder lies.

Locks do not reach from one kernel to another, so on a file system that several machines see (or a machine and its
guests), two servers could write one append-only file.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["file_system", "is_shared", "mounts_of_bsd", "mounts_of_linux"]

_SHARED = frozenset(
    "9p acfs afpfs afs beegfs ceph cephfs cifs coda davfs drvfs fhgfs gfs gfs2 glusterfs gpfs ibrix lustre ncp ncpfs nfs nfs4 "
    "ocfs2 orangefs panfs prl_fs pvfs2 smb2 smb3 smbfs vboxsf virtiofs vmhgfs webdav".split()
)
_SHARED_FUSE = frozenset(
    "azurefilesystem blobfuse blobfuse2 ceph-fuse cephfs cvmfs2 davfs2 gcsfuse glusterfs goofys grpcfuse httpfs juicefs lizardfs "
    "moosefs mfs osxfs portal rclone s3fs s3ql seaweedfs sshfs vmhgfs-fuse".split()
)


def is_shared(kind: str) -> bool:
    """Whether machines other than this one may see a file system of this kind at the same time."""
    name = kind.lower()
    return name in _SHARED or (name.startswith("fuse.") and name.removeprefix("fuse.") in _SHARED_FUSE)


def file_system(folder: Path) -> str | None:
    """The kind of file system *folder* (resolved) lies on, such as ``"ext4"`` or ``"nfs4"``; nothing where unknown."""
    if sys.platform == "linux":
        try:
            mounts = list(
                mounts_of_linux(
                    Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
                )
            )
        except OSError:
            return None
    else:
        try:
            told = subprocess.run(
                ["/sbin/mount"], capture_output=True, timeout=5, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        mounts = list(mounts_of_bsd(told.stdout.decode(errors="surrogateescape")))
    above = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    # Of two mounts on one point the later one covers the earlier, and max() keeps the first of equals.
    return max(reversed(above), key=lambda mount: len(mount[0].parts))[1] if above else None


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
