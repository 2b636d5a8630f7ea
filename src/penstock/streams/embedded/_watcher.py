"""The process that waits for the last user to leave, lingers, and stops the server.

It sleeps in the kernel on the users' lock, so it costs no processor time and notices a user that was killed as well as
one that left. It is started by path with the standard library alone, not by importing the package, to stay small and to
be there in a few milliseconds. When it is killed, the next user starts another.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from penstock.streams.embedded._ending import END_WITHIN_S, end_server
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._record import Record, ServerFolder
from penstock.streams.embedded._wire import Loading, look

__all__ = ["command", "linger_of", "watch"]

_SHORTEST_LINGER_S = 0.05
_PACKAGES = ("penstock", "penstock.streams", "penstock.streams.embedded")
_BOOT = """
import sys, types
for name, folder in zip(sys.argv[2:5], sys.argv[5:8]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from penstock.streams.embedded._watcher import watch
watch(sys.argv[1])
"""
"""Stands in for the packages' ``__init__``, which would import all of penstock."""


def command(folder: ServerFolder) -> list[str] | None:
    """What to run to have *folder* watched; nothing where we know no interpreter, as inside a frozen application."""
    interpreter = sys.executable or ""
    if getattr(sys, "frozen", False) or not Path(interpreter).name.startswith(("python", "pypy")):
        return None
    here = Path(__file__).parent
    folders = [str(here.parent.parent), str(here.parent), str(here)]
    return [interpreter, "-I", "-S", "-c", _BOOT, str(folder.path), *_PACKAGES, *folders]


def watch(place: str) -> None:
    """Wait until nobody has used the server of the data folder *place* for as long as its users asked, and stop it.

    Ends at once when another process watches already, and when there is nothing to wait for: the server has ended by
    itself, or was started to stay.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = ServerFolder(Path(place))
    # Closed in the opposite order: whoever comes next and holds the users' lock finds nobody watching, and starts one.
    with (
        FileLock(folder.users_lock) as users,
        FileLock(folder.server_lock) as server,
        FileLock(folder.watcher_lock) as watching,
    ):
        if watching.try_exclusive():
            record: Record | None = None
            while True:
                users.wait_exclusive()
                record = folder.read() or record
                if record is None or record.stays or _is_free(server):
                    break
                visits = os.fstat(users.fd).st_mtime_ns
                users.unlock()
                _linger(server, linger_of(users))
                if users.try_exclusive() and visits == os.fstat(users.fd).st_mtime_ns and not _loads(record):
                    end_server(folder, record, server, timeout_s=END_WITHIN_S)
                    break
                users.unlock()


def linger_of(users: FileLock) -> float:
    """For how many seconds the latest user wants the server kept."""
    try:
        return float(os.pread(users.fd, 64, 0))
    except ValueError:
        return 0.0


def _linger(server: FileLock, seconds: float) -> None:
    """Wait, but no longer than the server lives."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    with suppress(TimeoutError):
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _SHORTEST_LINGER_S))
        try:
            server.wait_shared()
            server.unlock()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _is_free(lock: FileLock) -> bool:
    free = lock.try_shared()
    if free:
        lock.unlock()
    return free


def _loads(record: Record) -> bool:
    """Whether the server is still reading its data: ending it now would let it never get ready."""
    return isinstance(look(record.path), Loading)
