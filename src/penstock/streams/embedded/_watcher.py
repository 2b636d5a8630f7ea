"""The process that waits for the last user to leave, lingers, and stops the server.

It sleeps in the kernel on the users' lock, so it costs no processor time and notices a user that was killed as well as
one that left. It is started by path with the standard library alone, not by importing the package, to stay small and to
be there in a few milliseconds. When it is killed, the next user starts another.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from penstock.streams.embedded._ending import END_WITHIN_S, end_server
from penstock.streams.embedded._locks import FileLock
from penstock.streams.embedded._record import Record, ServerFolder
from penstock.streams.embedded._wire import Loading, look

__all__ = ["command", "linger_of", "watch"]

_SHORTEST_LINGER_S = 0.05
_BOOT = """
import sys, types
place, *rest = sys.argv[1:]
for name, folder in zip(("penstock", "penstock.streams", "penstock.streams.embedded"), rest):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from penstock.streams.embedded._watcher import watch
watch(place, *map(int, rest[3:]))
"""
"""Stands in for the packages' ``__init__``, which would import all of penstock."""


def command(folder: ServerFolder, locks: Sequence[FileLock]) -> list[str] | None:
    """What to run to have *folder* watched, openings of its locks passed on: the users', the server's, the watcher's.

    Nothing where we know no interpreter, as inside a frozen application or an application server.
    """
    interpreter = Path(sys.executable or "")
    if getattr(sys, "frozen", False) or not interpreter.name.startswith(("python", "pypy")):
        return None
    here = Path(__file__).parent
    folders = map(str, (here.parent.parent, here.parent, here))
    fds = (str(lock.fd) for lock in locks)
    return [str(interpreter), "-I", "-S", "-c", _BOOT, str(folder.path), *folders, *fds]


def watch(place: str, users_fd: int, server_fd: int, watching_fd: int) -> None:
    """Wait until nobody has used the server of the data folder *place* for as long as its users asked, then end it.

    The descriptors are openings of the folder's locks; the last holds its own. Returns at once when there is nothing to
    wait for: the server has ended by itself, or was started to stay.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = ServerFolder(Path(place))
    # Closed from the last: whoever comes next and holds the users' lock finds nobody watching, and starts another.
    with (
        FileLock(folder.users_lock, inherited_fd=users_fd) as users,
        FileLock(folder.server_lock, inherited_fd=server_fd) as server,
        FileLock(folder.watcher_lock, inherited_fd=watching_fd),
    ):
        record: Record | None = None
        while True:
            users.wait_exclusive()
            noted = folder.read()
            # The folder may have been deleted since, and another be in its place with a server of its own.
            record = noted if noted and noted.lock == server.identity() else record
            if (record and record.stays) or _is_free(server):
                return
            visits = os.fstat(users.fd).st_mtime_ns
            users.unlock()
            _linger(server, linger_of(users))
            if users.try_exclusive() and visits == os.fstat(users.fd).st_mtime_ns and not _loads(record):
                end_server(folder, record, server, timeout_s=END_WITHIN_S)
                return
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


def _loads(record: Record | None) -> bool:
    """Whether the server is still reading its data: ending it now would let it never get ready."""
    return record is not None and isinstance(look(record.path), Loading)
