"""Which parts of a transaction a handler asks for, by the type of its parameter, found out at start.

Nothing is imported for it: whoever names ``sqlalchemy.orm.Session`` in an annotation has imported it.
"""

import sys
import typing
from enum import Enum
from typing import Any

from penstock.errors import ConfigurationError
from penstock.store.database import Dialect
from penstock.store.work.rows import Rows

__all__ = ["Wanted", "asked_types", "wanted_of"]


class Wanted(Enum):
    """A part of a transaction that handlers can ask for."""

    SESSION = "sqlalchemy.orm.Session"
    ALCHEMY = "sqlalchemy.Connection"
    RAW = "the driver's connection"
    ROWS = "penstock.projections.Rows"


_ASYNC = (
    ("sqlalchemy.ext.asyncio", "AsyncSession", "sqlalchemy.orm.Session"),
    ("sqlalchemy.ext.asyncio", "AsyncConnection", "sqlalchemy.Connection"),
    ("psycopg", "AsyncConnection", "psycopg.Connection"),
    ("asyncpg", "Connection", "psycopg.Connection"),
    ("aiosqlite", "Connection", "sqlite3.Connection"),
)
_DRIVERS: tuple[tuple[str, Dialect], ...] = (("sqlite3", "sqlite"), ("psycopg", "postgresql"))
_RAW = {"sqlite": "sqlite3.Connection", "postgresql": "psycopg.Connection"}
_SHOWN = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def wanted_of(annotation: object, *, handler: str, store: str, dialect: Dialect) -> Wanted | None:
    """The part of a transaction that a parameter's annotation asks for; ``None`` if it is something else.

    Raises:
        ConfigurationError: It is for asyncio, or for another database than the store *store* is in.
    """
    type_: Any = typing.get_origin(annotation) or annotation
    if type_ is Rows:
        return Wanted.ROWS
    for module, name, instead in _ASYNC:
        if _is(type_, module, name):
            raise ConfigurationError(
                f"handler {handler!r} asks for {module}.{name}; what it writes is committed by us, on a thread: "
                f"ask for {instead} (a coroutine function may, too)"
            )
    if _is(type_, "sqlalchemy.orm", "Session"):
        return Wanted.SESSION
    if _is(type_, "sqlalchemy", "Connection"):
        return Wanted.ALCHEMY
    for module, needed in _DRIVERS:
        if _is(type_, module, "Connection"):
            if dialect != needed:
                raise ConfigurationError(
                    f"handler {handler!r} asks for {module}.Connection, and store {store!r} is in {_SHOWN[dialect]}; "
                    f"ask for {_RAW[dialect]}, or for sqlalchemy.Connection, which does for both"
                )
            return Wanted.RAW
    return None


def asked_types(dialect: Dialect) -> dict[type, Wanted]:
    """Every type that can be asked for and is loaded, with the part that it stands for."""
    places = [("sqlalchemy.orm", "Session", Wanted.SESSION), ("sqlalchemy", "Connection", Wanted.ALCHEMY)]
    places += [(module, "Connection", Wanted.RAW) for module, needed in _DRIVERS if needed == dialect]
    found: dict[type, Wanted] = {Rows: Wanted.ROWS}
    for module, name, wanted in places:
        if module in sys.modules:
            found[getattr(sys.modules[module], name)] = wanted
    return found


def _is(type_: object, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and type_ is not None and getattr(loaded, name, None) is type_
