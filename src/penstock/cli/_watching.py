"""Whether code has changed: the Python files below some folders, looked at now and then."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Watch"]

_PASSED_OVER: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class Watch:
    """Remembers the Python and TOML files below *folders*, and tells which have changed since it last looked."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._seen = dict(self._look())

    def changes(self) -> list[str]:
        """The files that came, went or changed."""
        now = dict(self._look())
        changed = sorted(
            path for path in self._seen.keys() | now.keys() if self._seen.get(path) != now.get(path)
        )
        self._seen = now
        return changed

    def _look(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder in self._folders:
            yield from _look_below(str(folder))


def _look_below(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return  # a virtual environment
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _PASSED_OVER:
                    yield from _look_below(entry.path)
            elif entry.name.endswith((".py", ".toml")):
                status = entry.stat()
                yield entry.path, (status.st_mtime_ns, status.st_size)
        except OSError:  # gone since
            continue
