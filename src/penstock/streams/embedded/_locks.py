"""File locks between processes (``flock``): they end with the process that holds them, however it ends.

A lock belongs to the open file, not to the process: a child that inherits the descriptor holds it too. That is how the
server comes to hold the lock its starter took, and why nothing else may inherit one by accident. There is no ``fcntl``
on Windows, so it is imported where it is used.
"""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self

__all__ = ["FileLock"]

_open_locks: "set[FileLock]" = set()


class FileLock:
    """One opening of a lock file. It holds nothing until asked; `close` gives up whatever it holds.

    In a forked child it is closed; only what was held with others, the child goes on holding by itself.
    """

    def __init__(self, path: Path, *, inherited_fd: int | None = None) -> None:
        """Open *path*, which is made if it is not there, or take over the opening that the parent process passed on."""
        self._path = path
        self._shared = False
        self.fd = _opened(path) if inherited_fd is None else inherited_fd
        _open_locks.add(self)
        _listen_for_forks()

    def try_exclusive(self) -> bool:
        """Hold the lock alone, unless anybody else holds it. A shared hold is lost where this fails."""
        import fcntl

        return self._flock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def try_shared(self) -> bool:
        """Hold the lock with others, unless somebody holds it alone."""
        import fcntl

        self._shared = self._flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
        return self._shared

    def wait_exclusive(self) -> None:
        """Hold the lock alone as soon as nobody else holds it; waits without end and costs nothing meanwhile."""
        import fcntl

        self._flock(fcntl.LOCK_EX)

    def wait_shared(self) -> None:
        """Hold the lock with others as soon as nobody holds it alone; waits without end."""
        import fcntl

        self._shared = self._flock(fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Hold nothing any more; also for those who inherited this opening."""
        import fcntl

        self._flock(fcntl.LOCK_UN)

    def identity(self) -> tuple[int, int]:
        """Which file this is: device and inode. A copied folder has other ones, a moved folder the same."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def is_at(self, path: Path) -> bool:
        """Whether *path* still names this file: a deleted folder that was made again has another one there."""
        try:
            status = path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity()

    def close(self) -> None:
        """Give up what this opening holds, unless a child that was passed it still has it open. Idempotent."""
        _open_locks.discard(self)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def leave_to_parent(self) -> None:
        """In a forked child: have nothing in common with the parent's opening, whose lock would outlive the parent."""
        if not (self._shared and self.is_at(self._path)):
            self.close()
            return
        # Where that fails, for want of descriptors, the child and the parent go on holding it together.
        with suppress(OSError):
            inherited, self.fd = self.fd, _opened(self._path)
            self.try_shared()
            os.close(inherited)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flock(self, operation: int) -> bool:
        import fcntl

        self._shared = False
        try:
            fcntl.flock(self.fd, operation)
        except BlockingIOError:
            return False
        return True


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@cache
def _listen_for_forks() -> None:
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def _leave_all_to_parent() -> None:
    for lock in list(_open_locks):
        lock.leave_to_parent()
