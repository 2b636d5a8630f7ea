"""How a server ends: asked to, then told to, then made to. The data is complete after the first two."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._record import Record, ServerFolder
from penstock.streams.embedded._wire import Loading, Ready, RefusedError, ask, look

__all__ = ["END_WITHIN_S", "end_server", "end_unreachable", "server_pids", "signal_server"]

END_WITHIN_S = 30.0
"""How long a server without users may take to end before it is killed."""

_KILLED_WITHIN_S = 2.0


def end_server(folder: ServerFolder, record: Record, server_lock: FileLock, *, timeout_s: float) -> bool:
    """End the server of *record* and clear its socket away; whether it has ended.

    ``SHUTDOWN`` and ``SIGTERM`` write and sync what is left of the append-only file; a server that does neither within
    *timeout_s* is killed, which may lose what it had not written yet.
    """
    deadline = time.monotonic() + timeout_s
    _ask_to_end(record)
    ended = (
        _wait_free(server_lock, time.monotonic() + timeout_s / 2)
        or (signal_server(record, signal.SIGTERM) and _wait_free(server_lock, deadline))
        or (
            signal_server(record, signal.SIGKILL)
            and _wait_free(server_lock, time.monotonic() + _KILLED_WITHIN_S)
        )
    )
    if ended:
        # Under the folder's lock nobody starts a server on this socket; the lock of a deleted folder says nothing.
        with suppress(OSError):
            if folder.server_lock.stat().st_ino == server_lock.identity()[1]:
                record.path.unlink(missing_ok=True)
                record.path.parent.rmdir()
        server_lock.unlock()
    return ended


def server_pids(record: Record) -> list[int]:
    """The processes that were started to listen on the record's socket; only its own one where that is known.

    A process id alone proves nothing, because the system gives it to others later: the arguments have to fit, too.
    """
    return [pid for pid in _listening_on(record.path) if record.pid in {None, pid}]


def end_unreachable(record: Record) -> None:
    """Have a server end whose socket is gone: it lives, but nobody can reach it.

    One that lives in another view of the file system, as under systemd's ``PrivateTmp``, still has its socket there.
    """
    for pid in server_pids(record):
        with suppress(OSError):
            if sys.platform != "linux" or os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(
                "/proc/self/ns/mnt"
            ):
                os.kill(pid, signal.SIGTERM)


def _ask_to_end(record: Record) -> None:
    match look(record.path):
        # Somebody else's server may be behind the socket by now: data folders get deleted and made again.
        case Ready(info) | Loading(info) if record.pid in {None, int(info["process_id"])}:
            with suppress(OSError, RefusedError):
                ask(record.path, "SHUTDOWN", "NOSAVE")
        case _:
            signal_server(record, signal.SIGTERM)


def signal_server(record: Record, number: signal.Signals) -> bool:
    """Send a signal to the server of *record*, if it can be found. Always true, for the sake of ``and``."""
    for pid in server_pids(record):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return True


def _wait_free(lock: FileLock, deadline: float) -> bool:
    while not lock.try_exclusive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _listening_on(path: Path) -> Iterator[int]:
    if sys.platform == "linux":
        wanted = b"\0--unixsocket\0" + os.fsencode(path) + b"\0"
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if wanted in (entry / "cmdline").read_bytes():
                        yield int(entry.name)
    else:
        import subprocess

        told = subprocess.run(
            ["/bin/ps", "-axww", "-o", "pid=,args="], capture_output=True, timeout=10, check=False
        )
        for line in told.stdout.decode(errors="replace").splitlines():
            if f"--unixsocket {path} " in f"{line} ":
                yield int(line.split()[0])
