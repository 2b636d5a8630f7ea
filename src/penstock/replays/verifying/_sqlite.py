"""Two SQLite files as they were at one moment, read over one connection that has both attached."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from penstock.replays._sqlite._statements import folded
from penstock.replays.abc import Column, CopiedTable
from penstock.replays.verifying._subject import quoted
from penstock.store._sqlite._database import uri_of
from penstock.store._sqlite._errors import speaking_of
from penstock.store.database import Connection, Database

__all__ = ["SqliteComparing", "comparing_files"]

_LIVE: Final = "production"
_WAIT_SECONDS: Final = 10


class SqliteComparing:
    """A look at two files; a `Comparing`.

    Args:
        database: Speaks to the connection.
        connection: Has the copy as ``main`` and the live file attached under the name ``production``, in a transaction.
        live_connection: Has the live file as ``main``, in a transaction of the same moment; for statements in which
            plain names mean live tables.
    """

    def __init__(self, database: Database, connection: Connection, live_connection: Connection) -> None:
        self.database, self.connection = database, connection
        self._live_connection = live_connection

    def live(self, table: CopiedTable) -> str | None:
        """How the live table is written in SQL; ``None`` where there is none."""
        found = self._rows(
            f"SELECT name FROM {_LIVE}.sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
            table.name,
        )
        return f"{_LIVE}.{quoted(found[0][0])}" if found else None

    def copy(self, table: CopiedTable) -> str:
        """How the copy's is."""
        return f"main.{quoted(table.name)}"

    def columns(self, table: CopiedTable) -> tuple[Sequence[Column], Sequence[Column]]:
        """The live table's columns and the copy's, without hidden ones; a name that both have as the copy writes it."""
        copied = self._columns("main", table.name)
        names = {folded(each.name): each.name for each in copied}
        live = self._columns(_LIVE, table.name)
        return tuple(Column(names.get(folded(each.name), each.name), each.type) for each in live), copied

    def _columns(self, schema: str, name: str) -> Sequence[Column]:
        info = self._rows(f"PRAGMA {schema}.table_xinfo({quoted(name)})")
        return tuple(Column(each[1], " ".join(each[2].split()).lower()) for each in info if each[6] != 1)

    def key(self, table: CopiedTable) -> Sequence[str]:
        """The first of the copy's keys, beginning with its primary key, that is one of the live table's as well.

        Nothing keeps nulls out of a key that is not declared so, hence it is looked whether there is one.
        """
        live = self.live(table)
        if live is None:
            return ()
        known = {frozenset(map(folded, key)) for key in self._keys(_LIVE, table.name)}
        kinds = [
            {folded(each.name): _affinity(each.type) for each in columns} for columns in self.columns(table)
        ]
        for key in self._keys("main", table.name):
            names = [folded(each) for each in key]
            is_alike = all(kinds[0].get(each) == kinds[1].get(each) for each in names)
            if frozenset(names) in known and is_alike and not self._has_nulls(live, self.copy(table), key):
                return key
        return ()

    def _keys(self, schema: str, name: str) -> list[Sequence[str]]:
        info = self._rows(f"PRAGMA {schema}.table_info({quoted(name)})")
        primary = [each[1] for each in sorted((each for each in info if each[5]), key=lambda each: each[5])]
        keys: list[Sequence[str]] = [tuple(primary)] if primary else []
        for _, index, is_unique, origin, is_partial in self._rows(
            f"PRAGMA {schema}.index_list({quoted(name)})"
        ):
            if is_unique and not is_partial and origin != "pk":
                names = [each[2] for each in self._rows(f"PRAGMA {schema}.index_info({quoted(index)})")]
                if all(each is not None for each in names):
                    keys.append(tuple(names))
        return keys

    def _has_nulls(self, live: str, copy: str, key: Sequence[str]) -> bool:
        return any(
            self._rows(f"SELECT 1 FROM {table} WHERE {quoted(name)} IS NULL LIMIT 1")
            for table in (live, copy)
            for name in key
        )

    def read(self, side: Literal["live", "copy"], sql: str, *, most: int) -> list[Any]:
        """The rows of a statement in which plain table names mean those of one side."""
        connection = self.connection if side == "copy" else self._live_connection
        cursor: Any = self.database.execute(connection, sql)
        try:
            return list(cursor.fetchmany(most))
        finally:
            cursor.close()

    def _rows(self, sql: str, *parameters: object) -> list[Any]:
        return self.database.execute(self.connection, sql, parameters).fetchall()


def _affinity(type_: str) -> str:
    """What SQLite makes of a declared type (``datatype3.html``, section 3.1)."""
    text = type_.upper()
    if "INT" in text:
        return "integer"
    if any(each in text for each in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if not text or "BLOB" in text:
        return "blob"
    return "real" if any(each in text for each in ("REAL", "FLOA", "DOUB")) else "numeric"


@contextlib.contextmanager
def comparing_files(database: Database, live: Path | str, copy: Path | str) -> Iterator[SqliteComparing]:
    """A look at a copy's file beside the live one, or at any two, as both are at this moment.

    What is committed while it is open is not seen. *database* is either of the two. Raises `StoreUnavailableError`,
    `StoreRefusedError`.
    """
    with contextlib.ExitStack() as stack, speaking_of(database.shown):
        both, alone = (stack.enter_context(contextlib.closing(_opened(path))) for path in (copy, live))
        both.execute(f"ATTACH DATABASE ? AS {_LIVE}", (uri_of(Path(live).absolute(), read_only=True),))
        for connection, schemas in ((both, ("main", _LIVE)), (alone, ("main",))):
            connection.execute("PRAGMA query_only = 1")
            connection.execute("BEGIN")
            for schema in schemas:
                # A file is seen as it is when it is first read.
                connection.execute(f"SELECT count(*) FROM {schema}.sqlite_master").fetchone()
        yield SqliteComparing(database, both, alone)


def _opened(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri_of(Path(path).absolute(), read_only=True),
        uri=True,
        timeout=_WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    """A text of a file; nothing keeps bytes that are none out of it."""
    return data.decode("utf-8", "surrogateescape")
