"""The two folders of an embedded server: where its data lies, and the private one where its socket is."""

import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded._data_folder import make_data_folder
from penstock.streams.embedded._mounts import file_system, is_shared
from penstock.streams.embedded._record import ServerFolder

__all__ = ["REMEDY", "data_folder_of", "prepare", "socket_place", "trouble_with"]

REMEDY = "or use a running server by its URL: PENSTOCK_STREAMS=redis://HOST:6379"

_LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
"""What fits into ``sun_path``: 108 bytes on Linux, 104 on macOS and the BSDs, with the zero at the end."""

_PASSING = frozenset(
    {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EDQUOT, errno.EIO, errno.EAGAIN}
)
"""What is not the folder's fault."""


def data_folder_of(path: Path) -> ServerFolder:
    """The folder of this path, links resolved, so that everybody means the same one. Nothing is created."""
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "the embedded server works on Linux and macOS only; on Windows use a running server by its URL: "
            "PENSTOCK_STREAMS=redis://HOST:6379"
        )
    return ServerFolder(path.expanduser().resolve())


@contextmanager
def trouble_with(folder: ServerFolder) -> Iterator[None]:
    """Let what the system refuses in *folder* travel on as `EmbeddedServerError`, naming the folder and the remedy."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and error.filename != str(folder.path) else ""
        remedy = "put that right" if error.errno in _PASSING else "choose a folder that you may write to"
        raise EmbeddedServerError(
            f"the data folder {folder.path} cannot be used for a server: {error.strerror or error}{where}; "
            f"{remedy}, {REMEDY}"
        ) from error


def prepare(folder: ServerFolder) -> None:
    """Make the data folder if it is not there. Raises `EmbeddedServerError` where a server's data would not be safe."""
    with trouble_with(folder):
        make_data_folder(folder.path)
        owner = folder.path.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedServerError(
                f"the data folder {folder.path} belongs to another user (uid {owner}, and you are {os.geteuid()}), "
                f"and an embedded server serves one user only; choose a folder of your own, {REMEDY}"
            )
        kind = file_system(folder.path)
    if kind is not None and is_shared(kind):
        raise EmbeddedServerError(
            f"the data folder {folder.path} is on a file system that other machines may see ({kind}), where no lock "
            f"keeps two servers apart; choose a folder on a disk of this machine, {REMEDY}"
        )


def socket_place(folder: ServerFolder) -> Path:
    """Where the server of *folder* listens: in a folder of its own that only its user may enter, which is made here.

    The place of the last time is taken again while it can be, so that a restart does not change the URL. Raises
    `EmbeddedServerError` when no place serves.
    """
    name = f"penstock-{hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:16]}"
    former = folder.read()
    again = [former.path.parent.parent] if former is not None and former.path.parent.name == name else []
    tried: list[str] = []
    for base in dict.fromkeys([*again, *_bases()]):
        place = base / name / "server.sock"
        if len(os.fsencode(place)) > _LONGEST_SOCKET:
            tried.append(
                f"{base}: its path is too long for a socket's name (at most {_LONGEST_SOCKET} bytes)"
            )
            continue
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            tried.append(f"{base}: {error.strerror or error}")
            continue
        if _is_private(place.parent):
            return place
        tried.append(f"{place.parent} is there, but is not a folder that only you may enter; remove it")
    raise EmbeddedServerError(
        f"there is no place for the server's socket ({'; '.join(tried)}); "
        f"name a folder of yours in TMPDIR or XDG_RUNTIME_DIR, {REMEDY}"
    )


def _bases() -> list[Path]:
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    return [Path(base) for base in bases if Path(base).is_absolute()]


def _is_private(place: Path) -> bool:
    """Whether this is a folder, not a link to one, that belongs to us and that nobody else may enter."""
    try:
        status = place.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not stat.S_IMODE(status.st_mode) & 0o077
    )
