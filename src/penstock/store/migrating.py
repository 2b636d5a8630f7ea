"""Schema changes: numbered files of SQL that ship with us, and the table in which a database keeps which it has had.

The files are ``migrations/<dialect>/NNNN_name.sql``. All that are missing are applied in one transaction; of several
processes that migrate at the same time one does it and the others find it done.
"""

import hashlib
import re
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from penstock.errors import MissingMigrationError, OtherMigrationError
from penstock.store.abc import Statement
from penstock.store.database import Connection, Database, Dialect

__all__ = [
    "Applied",
    "Migration",
    "applied",
    "apply",
    "check",
    "include_name",
    "looking",
    "migrations",
    "pending",
    "sql",
    "statements",
]

_UNKNOWN: Final = (
    "is unknown to this version of penstock; install the version that applied it, or a newer one"
)
_CHANGED: Final = (
    "was applied with other statements than this version of penstock has under that name; "
    "restore the database, or install the version that applied it"
)
_LOCK: Final = 0x70656E73746F636B
"""The advisory lock of those who migrate a PostgreSQL database: ``penstock`` in ASCII."""

_TABLE: Final[Mapping[Dialect, str]] = {
    "sqlite": """\
CREATE TABLE IF NOT EXISTS penstock_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);""",
    "postgresql": """\
CREATE TABLE IF NOT EXISTS penstock_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);""",
}
# Not by `to_regclass`, which may remember from before the lock that there was none: it looks into a cache of what there
# is, and an advisory lock brings no news to that.
_IS_THERE: Final[Mapping[Dialect, str]] = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'penstock_migrations'",
    "postgresql": (
        "SELECT count(*) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'penstock_migrations' AND n.nspname = ANY (current_schemas(false))"
    ),
}

_HAD: Final = "SELECT number, name, checksum, applied_at FROM penstock_migrations ORDER BY number"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    """With its number: ``0001_events``."""
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 (hexadecimal) of the statements."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that a database has had."""

    number: int
    name: str
    checksum: str
    applied_at: str
    """As the database writes it, in UTC."""


@lru_cache
def migrations(dialect: Dialect) -> tuple[Migration, ...]:
    """Every migration that ships with this version, by number."""
    folder = resources.files("penstock.store") / "migrations" / dialect
    found: list[Migration] = []
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if match := re.fullmatch(r"(([0-9]{4})_[a-z0-9_]+)\.sql", file.name):
            found.append(Migration(int(match[2]), match[1], file.read_text(encoding="utf-8")))
    return tuple(found)


def applied(database: Database) -> list[Applied]:
    """What the database has had, by number. Raises `StoreUnavailableError`, `StoreRefusedError`."""
    with closing(database.connect(application="penstock migrations")) as connection:
        return _applied(database, connection)


def pending(database: Database) -> list[Migration]:
    """What the database lacks, by number.

    Raises:
        OtherMigrationError: It has one that this version does not ship, or not with these statements.
        StoreUnavailableError: The database cannot be reached.
        StoreRefusedError: It does not let us.
    """
    with closing(database.connect(application="penstock migrations")) as connection:
        return _pending(database, _applied(database, connection))


def check(database: Database) -> None:
    """Raises `MissingMigrationError`, naming the remedy, unless the database has everything; else as `pending`."""
    if missing := pending(database):
        raise MissingMigrationError(database.name, [migration.name for migration in missing])


def apply(database: Database) -> list[Migration]:
    """Apply what the database lacks, all or nothing; what that was.

    Safe to call from many processes at once. Raises as `pending`; errors of the statements are the driver's own.
    """
    with closing(database.connect(application="penstock migrations")) as connection:
        # To look needs no lock, and mostly there is nothing to do.
        if not _pending(database, _applied(database, connection)):
            return []
        with _alone(database, connection):
            missing = _pending(database, _applied(database, connection))
            for statement in _statements(database.dialect, missing):
                _run(connection, statement)
        return missing


def looking(database: Database) -> Generator[Statement, Sequence[Sequence[Any]], list[Migration]]:
    """`pending` without its I/O: yields statements for somebody's connection and is sent their rows.

    Raises `OtherMigrationError`.
    """
    [[is_there]] = yield _IS_THERE[database.dialect], ()
    rows = (yield _HAD, ()) if is_there else ()
    return _pending(database, _as_applied(rows))


def statements(dialect: Dialect, chosen: Sequence[Migration]) -> Iterator[str]:
    """What `apply` would run for these, one by one, for a transaction of somebody else's."""
    for part in _statements(dialect, chosen):
        yield from _single(part)


def sql(dialect: Dialect, chosen: Sequence[Migration] | None = None) -> str:
    """The statements that `apply` would run, for people who run them by hand; *chosen*: not all of them."""
    parts = _statements(dialect, migrations(dialect) if chosen is None else chosen)
    return "\n\n".join(["BEGIN;", *parts, "COMMIT;"]) + "\n"


def include_name(name: str | None, type_: str, _: object = None) -> bool:
    """For the ``include_name`` of Alembic's ``context.configure``: keeps autogenerate away from our tables."""
    return not (type_ == "table" and name is not None and name.startswith("penstock_"))


def _applied(database: Database, connection: Connection) -> list[Applied]:
    with _reading(database, connection):
        [is_there] = database.execute(connection, _IS_THERE[database.dialect]).fetchone()
        if not is_there:
            return []
        rows = database.execute(connection, _HAD).fetchall()
    return _as_applied(rows)


def _as_applied(rows: Sequence[Sequence[Any]]) -> list[Applied]:
    return [Applied(number, name, checksum, str(at)) for number, name, checksum, at in rows]


@contextmanager
def _reading(database: Database, connection: Any) -> Iterator[None]:
    """Within a transaction that is there already, or one of its own."""
    if isinstance(connection, sqlite3.Connection) or connection.info.transaction_status != 0:
        yield
        return
    database.begin(connection, write=False)
    try:
        yield
    finally:
        connection.rollback()


@contextmanager
def _alone(database: Database, connection: Connection) -> Iterator[None]:
    """A transaction that no other migrating process has at the same time."""
    database.begin(connection)
    try:
        if database.dialect == "postgresql":
            database.execute(connection, "SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _pending(database: Database, had: Sequence[Applied]) -> list[Migration]:
    known = {migration.name: migration for migration in migrations(database.dialect)}
    for each in had:
        if each.name not in known:
            raise OtherMigrationError(database.name, each.name, _UNKNOWN)
        if known[each.name].checksum != each.checksum:
            raise OtherMigrationError(database.name, each.name, _CHANGED)
    names = {each.name for each in had}
    return [migration for name, migration in known.items() if name not in names]


def _statements(dialect: Dialect, chosen: Sequence[Migration]) -> list[str]:
    """The table first, then each migration with the row that remembers it."""
    found = [_TABLE[dialect]]
    for each in chosen:
        # Numbers, names and checksums hold nothing that would have to be quoted.
        row = f"VALUES ({each.number}, '{each.name}', '{each.checksum}');"
        found += [each.sql.strip(), f"INSERT INTO penstock_migrations (number, name, checksum) {row}"]
    return found


def _run(connection: Any, script: str) -> None:
    if not isinstance(connection, sqlite3.Connection):
        # Without parameters PostgreSQL takes a whole script, and psycopg leaves its percent signs alone.
        connection.execute(script)
        return
    # `executescript` would commit what is open, so that half of the migrations could stay.
    for statement in _single(script):
        connection.execute(statement)


def _single(script: str) -> Iterator[str]:
    """The statements of a script, which ends each of them with a line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
