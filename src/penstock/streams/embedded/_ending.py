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
from penstock.streams.embedded._wire import Loading, Ready, RefusedError, Silent, ask, look

__all__ = ["END_WITHIN_S", "clear_socket", "end_server", "end_unreachable", "server_pids"]

END_WITHIN_S = 30.0
"""How long a server without users may take to end before it is killed."""

_KILLED_WITHIN_S = 2.0
_STEP_S = 0.1


def end_server(
    folder: ServerFolder, record: Record | None, server_lock: FileLock, *, timeout_s: float
) -> bool:
    """End the server of *folder* and clear its socket away; whether it has ended. It is found without *record*, too.

    ``SHUTDOWN`` and ``SIGTERM`` write and sync what is left of the append-only file; a server that does neither within
    *timeout_s* is killed, which may lose what it had not written yet.
    """
    begun = time.monotonic()
    ended = server_lock.try_exclusive()
    steps = ((_ask_to_end, timeout_s / 2), (_terminate, timeout_s), (_kill, timeout_s + _KILLED_WITHIN_S))
    for step, until_s in steps:
        while not ended:
            # Read again each time: somebody may be just starting the server that we are to end.
            noted = folder.read()
            record = noted if noted and noted.lock == server_lock.identity() else record
            step(folder, record)
            ended = _wait_free(server_lock, time.monotonic() + _STEP_S)
            if time.monotonic() - begun > until_s:
                break
    if ended and record is not None:
        clear_socket(folder, record, server_lock)
    server_lock.unlock()
    return ended


def clear_socket(folder: ServerFolder, record: Record, server_lock: FileLock) -> None:
    """Take away what a server that has ended left behind; *server_lock* is held alone."""
    # Under the folder's lock nobody starts a server on this socket; the lock of a deleted folder says nothing.
    if server_lock.is_at(folder.server_lock):
        with suppress(OSError):
            record.path.unlink(missing_ok=True)
            record.path.parent.rmdir()


def end_unreachable(folder: ServerFolder, record: Record) -> None:
    """Have a server end whose socket is gone: it lives, but nobody can reach it.

    One that lives in another view of the file system, as under systemd's ``PrivateTmp``, still has its socket there.
    """
    _signal([pid for pid in server_pids(folder, record) if _sees_what_we_see(pid)], signal.SIGTERM)


def server_pids(folder: ServerFolder, record: Record | None) -> list[int]:
    """The processes that were started to listen where *record* says; without one, those that were given *folder*.

    A process id alone proves nothing, because the system gives it to others later: the arguments have to fit, too.
    """
    if record is None:
        return list(_started_with("--dir", str(folder.path)))
    return [pid for pid in _started_with("--unixsocket", record.socket) if record.pid in {None, pid}]


def _ask_to_end(folder: ServerFolder, record: Record | None) -> None:
    seen = look(record.path) if record else Silent("there is no note where it is", missing=True)
    match seen:
        # Somebody else's server may be behind the socket by now: data folders get deleted and made again.
        case Ready(info) | Loading(info) if record and record.pid in {None, int(info["process_id"])}:
            with suppress(OSError, RefusedError):
                ask(record.path, "SHUTDOWN", "NOSAVE")
        case Silent(missing=True) if not record or record.pid:
            _terminate(folder, record)
        case _:
            pass


def _terminate(folder: ServerFolder, record: Record | None) -> None:
    _signal(server_pids(folder, record), signal.SIGTERM)


def _kill(folder: ServerFolder, record: Record | None) -> None:
    _signal(server_pids(folder, record), signal.SIGKILL)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _sees_what_we_see(pid: int) -> bool:
    if sys.platform != "linux":
        return True
    try:
        return Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return False


def _wait_free(lock: FileLock, deadline: float) -> bool:
    while not lock.try_exclusive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _started_with(option: str, value: str) -> Iterator[int]:
    if sys.platform == "linux":
        wanted = b"\0%b\0%b\0" % (option.encode(), os.fsencode(value))
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
            if f" {option} {value} " in f"{line} ":
                yield int(line.split()[0])
