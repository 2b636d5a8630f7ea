"""Folders for throw-away copies, of which those that were left behind can be told and cleared away.

A folder is locked as long as the process lives that made it, and those to which it passed the lock on: the system gives
a lock back however a process ends. So one that can be had says that nobody works there any more. On Windows there is no
such lock, and nothing is cleared away.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["Workroom", "clear_leftovers", "workroom"]

_NAME: Final = re.compile(r"penstock-(at|diff)-[a-z0-9_]{8}")


@dataclass(frozen=True, slots=True)
class Workroom:
    """A folder of one's own."""

    path: Path
    locks: tuple[int, ...]
    """File descriptors; a process that has them keeps the folder as well."""


@contextlib.contextmanager
def workroom(purpose: Literal["at", "diff"]) -> Iterator[Workroom]:
    """A new folder, which goes away with the block; if this process is killed in it, by `clear_leftovers`."""
    made = _made(purpose)
    try:
        yield made
    finally:
        shutil.rmtree(made.path, ignore_errors=True)
        for lock in made.locks:
            os.close(lock)


def clear_leftovers() -> None:
    """Remove the folders of this user in which nobody works any more. What cannot be removed stays."""
    for path in Path(tempfile.gettempdir()).glob("penstock-*"):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):
                _clear(path)


def _clear(path: Path) -> None:
    if path.lstat().st_uid == os.geteuid() and (lock := _locked(path)) is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _made(purpose: str) -> Workroom:
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"penstock-{purpose}-"))
        try:
            lock = _locked(path)
        except OSError:
            return Workroom(path, ())
        # Before it was locked, somebody may have taken it for left behind.
        if lock is not None:
            return Workroom(path, (lock,))


def _locked(path: Path) -> int | None:
    """A lock on a folder; ``None`` if somebody has it, or the folder is gone. `OSError` where it cannot be locked."""
    try:
        import fcntl
    except ImportError as missing:
        raise OSError("there are no such locks here") from missing
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    is_had = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_had = os.path.samestat(path.lstat(), os.fstat(lock))
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not is_had:
            os.close(lock)
    return lock if is_had else None
