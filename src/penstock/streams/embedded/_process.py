"""The server as a process: how it is started, and what its log says when that went wrong."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded._binary import ServerBinary
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._record import Durability, ServerFolder
from penstock.streams.embedded._wire import RefusedError, Silent, ask, look

__all__ = ["arguments", "clear_the_way", "launch", "log_tail", "start_process"]

_LOG_LIMIT = 1_000_000
_DETACH = '"$@" </dev/null >>"$0" 2>&1 &'
"""The shell leaves at once, so the process is nobody's child: no zombie, no signal meant for its starter's children."""


def launch(*command: str | Path, output: Path, folder: Path, keep: Sequence[FileLock]) -> None:
    """Start *command* in a session of its own, outliving us, writing to *output*; of our files it inherits *keep*."""
    subprocess.run(
        ["/bin/sh", "-c", _DETACH, output, *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock.fd for lock in keep],
        start_new_session=True,
        umask=0o077,
        check=True,
    )


def start_process(
    binary: ServerBinary, folder: ServerFolder, socket: Path, durability: Durability, lock: FileLock
) -> int:
    """Start the server, which holds *lock* from now on for as long as it runs; where in the log its words begin."""
    written = folder.log.stat().st_size if folder.log.exists() else 0
    if written > _LOG_LIMIT:
        folder.log.replace(folder.log.with_name("server.log.1"))
        written = 0
    launch(
        binary.path,
        *arguments(folder, socket, durability),
        output=folder.log,
        folder=folder.path,
        keep=[lock],
    )
    return written


def arguments(folder: ServerFolder, socket: Path, durability: Durability) -> list[str]:
    """What the server is told. Understood by Valkey, and by Redis from 6.2."""
    settings = {
        "dir": str(folder.path),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "logfile": "",
        "set-proc-title": "no",  # the arguments stay visible: a process id is trusted only with them
        "appendonly": "yes",
        "appendfsync": durability,
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def clear_the_way(folder: ServerFolder, socket: Path) -> None:
    """Make sure that nobody listens where our server is to.

    That is somebody whose data folder was deleted (it is ended: there is nothing left to serve) or moved away while it
    ran (`EmbeddedServerError`: it still has its data and its users).
    """
    if isinstance(look(socket), Silent):
        return
    with suppress(OSError, RefusedError):
        # The present name of the folder it works in; nothing when that was deleted.
        place = ask(socket, "CONFIG", "GET", "dir").removeprefix("dir").strip("\n")
        if place and Path(place).is_dir() and not Path(place).samefile(folder.path):
            raise EmbeddedServerError(
                f"the data folder {place} was moved away from {folder.path} while its server runs, which still listens "
                f"on {socket}; end that one first, with `penstock server stop` in its project"
            )
        ask(socket, "SHUTDOWN", "NOSAVE")


def log_tail(folder: ServerFolder, *, since: int = 0, lines: int = 6) -> str:
    """The last *lines* of the server's log after the byte *since*, indented, for an error's text."""
    with suppress(OSError), folder.log.open("rb") as file:
        file.seek(max(since, os.fstat(file.fileno()).st_size - 8192))
        written = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return "\n".join(f"    {line.strip()}" for line in written[-lines:])
    return ""
