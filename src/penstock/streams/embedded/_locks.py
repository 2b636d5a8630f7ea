"""File locks between processes (``flock``): they end with the process that holds them, however it ends.

A lock belongs to the open file, not to the process: a child that inherits the descriptor holds it too, which is how the
server comes to hold the lock its starter took.
"""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl

__all__ = ["FileLock"]


class FileLock:
    """One opening of a lock file. It holds nothing until asked; `close` gives up whatever it holds."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_exclusive(self) -> bool:
        """Hold the lock alone, unless anybody else holds it. A shared hold is lost where this fails."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Hold the lock with others, unless somebody holds it alone."""
        return self._try(fcntl.LOCK_SH)

    def wait_exclusive(self) -> None:
        """Hold the lock alone as soon as nobody else holds it; waits without end and costs nothing meanwhile."""
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def wait_shared(self) -> None:
        """Hold the lock with others as soon as nobody holds it alone; waits without end."""
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Hold nothing any more; also for those who inherited this opening."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def identity(self) -> tuple[int, int]:
        """Which file this is: device and inode. A copied folder has other ones, a moved folder the same."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Give up what this opening holds, unless a child that inherited it still has it open. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self.fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
