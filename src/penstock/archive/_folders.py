"""Where segment files lie: a folder of this machine, or anything that fsspec reaches.

A file is written whole or not at all: under another name first, then renamed.
"""

import contextlib
import importlib
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError, MissingExtraError

try:
    import fcntl
except ImportError:  # Windows has other locks; there, one process at a time archives into a folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "LocalFolder", "RemoteFolder", "open_folder"]


class Folder(Protocol):
    """The few things that are done with files. Paths are relative and have slashes. All of it blocks.

    Everything raises `ArchiveUnavailableError`; reading what is not there raises `FileNotFoundError`.
    """

    shown: str
    """For messages."""
    locks: bool
    """Whether `lock` also keeps other processes out."""

    def make(self) -> None:
        """Make the folder itself."""
        ...

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted; nothing where it does not exist."""
        ...

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of a file from *start* to *end*."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Put a new file there, folders included; when this returns it is on disk."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        ...

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Within the block nobody else changes what is in that folder."""
        ...


def open_folder(url: str) -> Folder:
    """A local path, a ``file://`` URL, or any other URL that fsspec knows.

    Raises:
        MissingExtraError: A URL, and fsspec is not installed.
        ConfigurationError: fsspec does not know such URLs, or lacks a package for them.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalFolder(Path(rest if separator else url))
    return RemoteFolder(url)


class LocalFolder:
    """A folder of this machine."""

    locks = fcntl is not None

    def __init__(self, path: Path) -> None:
        self._root = path
        self.shown = str(path)

    def make(self) -> None:
        """Make the folder."""
        with self._told():
            self._root.mkdir(parents=True, exist_ok=True)

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        with self._told():
            try:
                return sorted(os.listdir(self._root / path))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """A part of a file."""
        with self._told(), (self._root / path).open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(end - start)

    def write(self, path: str, data: bytes) -> None:
        """Write, sync, rename, sync the folder."""
        target = self._root / path
        half = target.with_name(f".{uuid.uuid4().hex}.part")
        with self._told():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with half.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                half.rename(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    half.unlink()
                raise
            for folder in (target.parent, target.parent.parent, self._root):
                _sync_folder(folder)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._told():
            (self._root / path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Keep others out of the folder, in this process and in others."""
        if fcntl is None:
            yield
            return
        with self._told():
            (self._root / path).mkdir(parents=True, exist_ok=True)
            handle = os.open(self._root / path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # Freed by the system when the process ends, however it ends.
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as failure:
            raise ArchiveUnavailableError(
                f"the archive in {self.shown} does not take part: {failure}"
            ) from failure


class RemoteFolder:
    """A folder that fsspec reaches. Nothing there can be locked."""

    locks = False

    def __init__(self, url: str) -> None:
        try:
            core: Any = importlib.import_module("fsspec.core")
        except ImportError as missing:
            raise MissingExtraError(
                f"an archive of files at {url.partition('://')[0]}://", "files"
            ) from missing
        try:
            files, root = core.url_to_fs(url)
        except (ImportError, ValueError) as failure:
            raise ConfigurationError(f"the archive's url cannot be used: {failure}") from failure
        self._files: Any = files
        self._root = str(root).rstrip("/")
        self._changing = threading.Lock()
        self.shown = f"{url.partition('://')[0]}://{self._root.lstrip('/')}"

    def make(self) -> None:
        """Make the folder, where there is such a thing."""
        with self._told():
            self._files.makedirs(self._root, exist_ok=True)

    def names(self, path: str) -> list[str]:
        """What is in a folder, as it is now."""
        with self._told():
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._at(path), detail=False)
            except FileNotFoundError:
                return []
            return sorted({str(each).rstrip("/").rpartition("/")[2] for each in found} - {""})

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """A part of a file."""
        with self._told():
            return bytes(self._files.cat_file(self._at(path), start=start or None, end=end))

    def write(self, path: str, data: bytes) -> None:
        """Write, then rename."""
        target = self._at(path)
        half = f"{target.rpartition('/')[0]}/.{uuid.uuid4().hex}.part"
        with self._told():
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                self._files.pipe_file(half, data)
                self._files.mv(half, target)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._files.rm_file(half)
                raise

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(path))

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Keep other threads of this process out."""
        with self._changing:
            yield

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, ArchiveError):
            raise
        except Exception as failure:  # each file system of fsspec raises what its own library raises
            reason = str(failure) or type(failure).__name__
            raise ArchiveUnavailableError(
                f"the archive at {self.shown} does not take part: {reason}"
            ) from failure


def _sync_folder(path: Path) -> None:
    """A new name is lost with the power unless its folder is synced, too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
