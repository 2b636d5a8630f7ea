"""The archive as settings name it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.config._files import KeyPath
from penstock.config._layers import Said
from penstock.config._model import ArchiveSettings

__all__ = ["read_archive"]

_SQLITE: Final = "sqlite:///"


def read_archive(said: Mapping[KeyPath, Said]) -> ArchiveSettings:
    """What *said* says of the archive; paths are relative to where it is said."""
    driver, url = said.get(("archive", "driver")), said.get(("archive", "url"))
    return ArchiveSettings(
        None if driver is None else str(driver.value).strip().lower(),
        None if url is None else _absolute(str(url.value).strip(), url.source.base),
    )


def _absolute(url: str, base: Path) -> str:
    if url.startswith(_SQLITE):
        return f"{_SQLITE}{base / url.removeprefix(_SQLITE)}"
    return url if "://" in url else str(base / url)
