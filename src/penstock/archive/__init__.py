"""The archive: where messages are kept when no stream needs them any more, and from where they come back."""

from penstock.archive._archiver import ArchivePage, Archiver, NotArchived
from penstock.archive._drivers import ENTRY_POINTS, check_archive, make_archive
from penstock.archive._restorer import Restored, Restorer
from penstock.archive.abc import Archive, ArchivedMessage, ArchivePlace, Created, pages
from penstock.archive.memory import MemoryArchive

__all__ = [
    "ENTRY_POINTS",
    "Archive",
    "ArchivePage",
    "ArchivePlace",
    "ArchivedMessage",
    "Archiver",
    "Created",
    "MemoryArchive",
    "NotArchived",
    "Restored",
    "Restorer",
    "check_archive",
    "make_archive",
    "pages",
]
