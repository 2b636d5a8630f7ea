"""Connections that are lent for one transaction each, and used again."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Final

from penstock.errors import PenstockError
from penstock.store.database import Connection, Database
from penstock.store.work.work import Work, Workshop

__all__ = ["Lender"]

_MOST_KEPT: Final = 16
_INHERITED: Final[list[Any]] = []
"""Of the process that we were forked from: to close them would break them there."""


class Lender:
    """Lends connections of one database, each with a transaction begun on it. Threads may share it."""

    def __init__(self, database: Database, *, application: str = "") -> None:
        self.database = database
        self._application = application
        self._workshop = Workshop(database)
        self._free: list[Connection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Work]:
        """A transaction: committed at the end, rolled back by an error. Raises `StoreUnavailableError`."""
        connection = self._begun()
        work = self._workshop.begin(connection)
        try:
            try:
                yield work
                work.settle()
                work.check()
            finally:
                work.end()
            connection.commit()
        except BaseException:
            self._take_back(connection)
            raise
        self._keep(connection)

    def close(self) -> None:
        """Close what is not lent. It may be used again."""
        with self._lock:
            free, self._free = self._free, []
        for connection in free:
            with contextlib.suppress(Exception):
                connection.close()

    def _begun(self) -> Connection:
        with self._lock:
            if self._pid != os.getpid():
                _INHERITED.extend(self._free)
                self._free, self._pid = [], os.getpid()
            kept = self._free.pop() if self._free else None
        if kept is not None:
            try:
                self.database.begin(kept)
            except PenstockError:
                # It may have been lost while nobody used it.
                with contextlib.suppress(Exception):
                    kept.close()
            else:
                return kept
        made = self.database.connect(application=self._application)
        try:
            self.database.begin(made)
        except BaseException:
            made.close()
            raise
        return made

    def _take_back(self, connection: Connection) -> None:
        """Roll back; a connection on which not even that works is not used again."""
        try:
            connection.rollback()
        except Exception:  # noqa: BLE001  of whatever driver; what matters is raised already
            with contextlib.suppress(Exception):
                connection.close()
        else:
            self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if len(self._free) < _MOST_KEPT:
                self._free.append(connection)
                return
        connection.close()
