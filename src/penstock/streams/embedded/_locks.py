"""File locks between processes (``flock``): they end with the process that holds them, however it ends.

A lock belongs to the open file, not to the process: a child that inherits the descriptor holds it too, which is how the
server comes to hold the lock its starter took. There is no ``fcntl`` on Windows, so it is imported where it is used.
"""

import os
from pathlib import Path
from typing import Self

__all__ = ["FileLock"]


class FileLock:
    """One opening of a lock file. It holds nothing until asked; `close` gives up whatever it holds."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def inherited(cls, fd: int) -> Self:
        """The opening that the parent process passed on, with what it holds."""
        lock = cls.__new__(cls)
        lock.fd = fd
        return lock

    def try_exclusive(self) -> bool:
        """Hold the lock alone, unless anybody else holds it. A shared hold is lost where this fails."""
        import fcntl

        return self._flock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def try_shared(self) -> bool:
        """Hold the lock with others, unless somebody holds it alone."""
        import fcntl

        return self._flock(fcntl.LOCK_SH | fcntl.LOCK_NB)

    def wait_exclusive(self) -> None:
        """Hold the lock alone as soon as nobody else holds it; waits without end and costs nothing meanwhile."""
        import fcntl

        self._flock(fcntl.LOCK_EX)

    def wait_shared(self) -> None:
        """Hold the lock with others as soon as nobody holds it alone; waits without end."""
        import fcntl

        self._flock(fcntl.LOCK_SH)

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
        """Give up what this opening holds, unless a child that inherited it still has it open. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flock(self, operation: int) -> bool:
        import fcntl

        try:
            fcntl.flock(self.fd, operation)
        except BlockingIOError:
            return False
        return True
