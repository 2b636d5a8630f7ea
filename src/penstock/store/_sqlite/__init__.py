"""The event store in one SQLite file: WAL, ``synchronous=FULL``, one writer thread, a few readers."""

from penstock.store._sqlite._backend import SqliteBackend

__all__ = ["SqliteBackend"]
