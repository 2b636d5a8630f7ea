"""Every archive that ships keeps the promise of an archive."""

from penstock.testing.contracts.archive import ArchiveContract


class TestArchives(ArchiveContract):
    """In memory, in SQLite and PostgreSQL, in files of this machine and behind fsspec."""
