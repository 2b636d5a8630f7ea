"""Archives by the names of their drivers: built in, or registered under the entry point group ``penstock.archives``."""

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, cast

from penstock.archive.abc import Archive
from penstock.archive.memory import MemoryArchive
from penstock.errors import ConfigurationError, IncompleteArchiveError, NoArchiveError

__all__ = ["ENTRY_POINTS", "check_archive", "driver_names", "make_archive"]

ENTRY_POINTS: Final = "penstock.archives"
"""The entry point group where packages name their drivers: callables of a URL (or ``None``) that give an `Archive`."""

_METHODS: Final = tuple(
    name for name, value in vars(Archive).items() if inspect.isfunction(value) and not name.startswith("_")
)


def make_archive(driver: str | None, url: str | None, *, data_folder: Path) -> Archive:
    """The archive that settings ask for, not open yet; it is in *data_folder* unless *url* says where.

    Raises:
        NoArchiveError: No driver is set.
        ConfigurationError: There is no such driver, or its URL cannot be used.
        MissingExtraError: The driver needs a package that is not installed.
        IncompleteArchiveError: A driver from elsewhere does not do what an archive does.
    """
    if driver is None:
        raise NoArchiveError(
            "no archive is configured, and nothing was archived or removed; "
            "set one: [archive] driver = 'sql' (or 'files'), in the environment PENSTOCK_ARCHIVE__DRIVER=sql"
        )
    built_in: dict[str, Callable[[str | None, Path], Archive]] = {
        "sql": _sql,
        "files": _files,
        "memory": lambda _url, _folder: MemoryArchive(),
    }
    if driver in built_in:
        return built_in[driver](url, data_folder)
    for point in entry_points(group=ENTRY_POINTS, name=driver):
        make = cast("Callable[[str | None], object]", point.load())
        return check_archive(make(url), driver)
    raise ConfigurationError(
        f"there is no archive driver {driver!r}; there are {', '.join(driver_names())}. A driver of your own is given "
        f"as `app.archive = ...`, or named by a package under the entry point group {ENTRY_POINTS!r}"
    )


def check_archive(archive: object, driver: str) -> Archive:
    """*archive*, if it has all that an archive promises. Raises `IncompleteArchiveError` with what is missing."""
    missing = [name for name in _METHODS if not callable(getattr(archive, name, None))]
    if missing:
        raise IncompleteArchiveError(driver, missing)
    return cast("Archive", archive)


def driver_names() -> list[str]:
    """Every driver that can be named in settings."""
    return ["sql", "files", "memory", *sorted(entry_points(group=ENTRY_POINTS).names)]


def _sql(url: str | None, folder: Path) -> Archive:
    from penstock.archive.sql import SqlArchive

    return SqlArchive(url if url is not None else f"sqlite:///{folder / 'archive.db'}")


def _files(url: str | None, folder: Path) -> Archive:
    from penstock.archive.files import FilesArchive

    return FilesArchive(url if url is not None else str(folder / "archive"))
