"""An app's archive: the one that was handed in, else the one that its settings name, opened when first needed."""

import asyncio
import os
from abc import ABC, abstractmethod
from typing import TypeAlias

from penstock.archive import Archive, check_archive, make_archive
from penstock.config import Settings

__all__ = ["HasArchive"]

_What: TypeAlias = tuple[object, ...]


class HasArchive(ABC):
    """The part of an app that knows its archive."""

    archive: Archive | None = None
    """An archive of your own, which goes before the one that settings name. It is opened when first needed, and closed
    with the app."""

    _archive: tuple[_What, Archive] | None = None

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    async def open_archive(self) -> Archive:
        """The app's archive, open.

        Raises:
            NoArchiveError: Neither code nor settings give one.
            ConfigurationError: What they give cannot be used.
            ArchiveUnavailableError: It does not take part.
        """
        what = self._what
        if self._archive is None or self._archive[0] != what:
            self._archive = what, await asyncio.to_thread(self._make_archive)
        opened = self._archive[1]
        await opened.open()
        return opened

    @property
    def _what(self) -> _What:
        """What the archive is made of. A process that was forked makes one anew."""
        if self.archive is not None:
            return id(self.archive), os.getpid()
        return self.settings.archive, self.settings.data_folder, os.getpid()

    def _make_archive(self) -> Archive:
        if self.archive is not None:
            return check_archive(self.archive, type(self.archive).__name__)
        settings = self.settings
        return make_archive(settings.archive.driver, settings.archive.url, data_folder=settings.data_folder)

    async def _close_archive(self) -> None:
        if self._archive is not None and self._archive[0] == self._what:
            await self._archive[1].close()
