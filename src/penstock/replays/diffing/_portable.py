"""Whether tables that are made for PostgreSQL can be made in SQLite as well, and what stands in the way."""

from typing import Any

from penstock.errors import ReplayError
from penstock.projections import Projection
from penstock.store.database import Dialect

__all__ = ["check_portable", "hint"]

_REMEDY = "; it needs PostgreSQL, so build it there: --in postgresql://HOST/NAME (in Python build_in=)"
_SIGNS = ("psycopg", "postgresql", "postgres")


def hint(failure: object, live: Dialect, here: Dialect) -> str:
    """What to add to an error that comes up, or may, because a read model of PostgreSQL is built in SQLite."""
    is_likely = live == "postgresql" or any(sign in str(failure).lower() for sign in _SIGNS)
    return _REMEDY if here == "sqlite" and is_likely else ""


def check_portable(projection: Projection, here: Dialect) -> None:
    """Raises `ReplayError`, naming all columns that need PostgreSQL, where a read model is to be made in SQLite."""
    if here != "sqlite":
        return
    tables = [each.definition for each in projection.tables.copied() if each.definition is not None]
    found = [each for table in tables for each in _not_portable(table)]
    names = [table.name for table in tables]
    found += [f"table {name} is in two schemas" for name in dict.fromkeys(names) if names.count(name) > 1]
    if found:
        raise ReplayError(
            f"projection {projection.name!r} cannot be built in SQLite: {', '.join(found)}{_REMEDY}"
        )


def _not_portable(table: Any) -> list[str]:
    """What of a table SQLite has no words for."""
    from sqlalchemy import exc
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    dialect: Any = sqlite.dialect()
    found: list[str] = []
    for column in table.columns:
        try:
            column.type.compile(dialect=dialect)
        except exc.CompileError:
            found.append(f"column {table.name}.{column.name} is of type {type(column.type).__name__}")
    if found:
        return found
    try:
        CreateTable(table).compile(dialect=dialect)
        for index in table.indexes:
            CreateIndex(index).compile(dialect=dialect)
    except exc.CompileError as failure:
        return [f"table {table.name}: {failure}"]
    return []
