"""The SQL that writes rows in batches, on both dialects, and what it has to know of a table."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from penstock.errors import UsageError
from penstock.store._quoting import quoted, quoted_path
from penstock.store.database import Dialect
from penstock.store.literals import array_literal, copy_text, text_array

if TYPE_CHECKING:
    import sqlalchemy

__all__ = ["RowTable", "alchemy_table", "row_table"]

_MOST_PARAMETERS = 30_000
"""SQLite takes 32,766 in one statement, PostgreSQL 65,535."""

_TYPES = """\
SELECT attname::text, atttypid::regtype::text FROM pg_catalog.pg_attribute
 WHERE attrelid = to_regclass(?::text) AND attnum > 0 AND NOT attisdropped AND NOT row_security_active(attrelid)"""
"""Where each row is looked at by policies, which ``COPY`` does not do, there are none: rows are written one by one."""

_TEXTS = frozenset({"text", "character varying"})
_IN_BULK: Mapping[str, set[type]] = {
    "text": {str},
    "character varying": {str},
    "smallint": {int},
    "integer": {int},
    "bigint": {int},
    "numeric": {int, Decimal},
    "double precision": {int, float},
    "boolean": {bool},
    "uuid": {UUID},
}
"""Types of columns, and of Python's values that mean the same to PostgreSQL in bulk and alone."""

_MOST_COMPARED = 1_000
"""PostgreSQL compares rows of several columns one inside the other, and its stack ends somewhere above 10,000."""


@dataclass(frozen=True, slots=True)
class RowTable:
    """A table that rows are written to."""

    name: str
    """As it is written in SQL, quoted."""
    dialect: Dialect
    columns: Mapping[str, str] | None = None
    """By the name that code uses for it, the column's name; ``None``: not known, they are taken as they come."""
    uniques: tuple[frozenset[str], ...] | None = None
    """Sets of columns by which there is one row at most; ``None``: not known."""
    convert: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict[str, Callable[[Any], Any]])
    """By the name that code uses, what makes a parameter of a value."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What Python gives to columns that a new row is not given."""
    cls: type | None = None
    """The mapped class."""
    table: Any = None
    """The ``sqlalchemy.Table``."""
    primary: tuple[str, ...] = ()
    """The primary key, by the names that code uses."""

    def check(self, key: Sequence[str], values: Mapping[str, Any]) -> None:
        """Raises `UsageError` for columns that are not there, and for a key that may find several rows."""
        if not key:
            raise UsageError(f"a row of {self.name} needs a key; name its columns, as in {{'id': 17}}")
        self.check_columns((*key, *values))
        for name in values:
            if name in key:
                raise UsageError(
                    f"column {name!r} of {self.name} is in the key and changed as well; leave one out"
                )
        if self.uniques is not None and frozenset(key) not in self.uniques:
            known = " or ".join(", ".join(sorted(each)) for each in self.uniques) or "none"
            raise UsageError(
                f"{', '.join(key)} may find several rows of {self.name}; "
                f"a key is what a primary key or unique constraint is on: {known}"
            )

    def check_columns(self, names: Collection[str]) -> None:
        """Raises `UsageError` for columns that are not there, and for none at all."""
        if not names:
            raise UsageError(f"a row of {self.name} needs at least one column; name it, as in total=17")
        for name in names:
            if self.columns is not None and name not in self.columns:
                raise UsageError(f"{self.name} has no column {name!r}; it has {', '.join(self.columns)}")

    def upserts(
        self,
        key: tuple[str, ...],
        sets: tuple[str, ...],
        adds: tuple[str, ...],
        rows: Sequence[tuple[Any, ...]],
        types: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[str, list[object]]]:
        """Statements that have *rows* (values of key, sets and adds), with ``?`` for parameters.

        *types*: the types of columns in PostgreSQL, which takes an array for each of them in half the time.
        """
        return self._insert((*key, *sets, *adds), rows, self._on_conflict(key, sets, adds), types)

    def inserts(
        self, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], types: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, list[object]]]:
        """Statements that add *rows* (values of *names*), as `upserts`."""
        return self._insert(names, rows, "", types)

    def copies(
        self, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], types: Mapping[str, str]
    ) -> tuple[str, str] | None:
        """A ``COPY`` that adds *rows*, and what it reads; ``None`` if it might not take what a statement takes."""
        named, rows = self._with_defaults(names, rows)
        columns = self._by_column(named, self._parameters(named, rows), types)
        if columns is None:
            return None
        sql = f"COPY {self.name} ({', '.join(map(self._column, named))}) FROM STDIN"
        return sql, copy_text(values for _, values in columns)

    def _insert(
        self,
        names: tuple[str, ...],
        rows: Sequence[tuple[Any, ...]],
        tail: str,
        types: Mapping[str, str] | None,
    ) -> Iterator[tuple[str, list[object]]]:
        named, rows = self._with_defaults(names, rows)
        head = f"INSERT INTO {self.name} ({', '.join(map(self._column, named))}) "
        one = f"({', '.join('?' * len(named))})"
        size = max(1, _MOST_PARAMETERS // len(named))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            parameters = self._parameters(named, some)
            if types and (arrays := self._arrays(named, parameters, types)) is not None:
                marks = ", ".join(mark for mark, _ in arrays)
                yield f"{head}SELECT * FROM unnest({marks}) {tail}", [values for _, values in arrays]
            else:
                yield f"{head}VALUES {', '.join([one] * len(some))} {tail}", parameters

    def _with_defaults(
        self, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]:
        more = {name: value for name, value in self.defaults.items() if name not in names}
        if not more:
            return names, rows
        values = tuple(more.values())
        return (*names, *more), [row + values for row in rows]

    @property
    def types(self) -> str | None:
        """The statement that tells the types of columns for `upserts`; ``None`` where they do not matter."""
        return _TYPES if self.dialect == "postgresql" else None

    def _arrays(
        self, names: tuple[str, ...], parameters: list[object], types: Mapping[str, str]
    ) -> list[tuple[str, str]] | None:
        """For each column an array in SQL and its values; ``None`` if an array might not take what a row takes."""
        columns = self._by_column(names, parameters, types)
        if columns is None:
            return None
        return [
            (f"?::{kind}[]", text_array(values) if kind in _TEXTS else array_literal(values))
            for kind, values in columns
        ]

    def _by_column(
        self, names: tuple[str, ...], parameters: list[object], types: Mapping[str, str]
    ) -> list[tuple[str, list[Any]]] | None:
        """The type and the values of each column; ``None`` if there are some that a type might take differently."""
        found: list[tuple[str, list[Any]]] = []
        for number, name in enumerate(names):
            kind = types.get(name if self.columns is None else self.columns[name], "")
            values = parameters[number :: len(names)]
            kinds = {*map(type, values)} - {type(None)}
            if len(kinds) > 1 or not kinds <= _IN_BULK.get(kind, set()):
                return None
            found.append((kind, values))
        return found

    def deletes(
        self, key: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[str, list[object]]]:
        """Statements that remove the rows of these keys."""
        columns = ", ".join(map(self._column, key))
        one = f"({', '.join('?' * len(key))})"
        size = _MOST_PARAMETERS if len(key) == 1 else _MOST_COMPARED
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            # SQLite compares rows with a VALUES clause only, and there PostgreSQL would take what is quoted for text.
            values = "VALUES " if self.dialect == "sqlite" else ""
            sql = f"DELETE FROM {self.name} WHERE ({columns}) IN ({values}{', '.join([one] * len(some))})"
            yield sql, self._parameters(key, some)

    def _on_conflict(self, key: tuple[str, ...], sets: tuple[str, ...], adds: tuple[str, ...]) -> str:
        place = ", ".join(map(self._column, key))
        if not sets and not adds:
            return f"ON CONFLICT ({place}) DO NOTHING"
        changes = [f"{name} = excluded.{name}" for name in map(self._column, sets)]
        changes += [
            f"{name} = coalesce({self.name}.{name}, 0) + excluded.{name}" for name in map(self._column, adds)
        ]
        return f"ON CONFLICT ({place}) DO UPDATE SET {', '.join(changes)}"

    def _column(self, name: str) -> str:
        return quoted(name if self.columns is None else self.columns[name])

    def _parameters(self, names: tuple[str, ...], rows: Any) -> list[object]:
        converters = [self.convert.get(name) for name in names]
        if not any(converters):
            return [value for row in rows for value in row]
        return [
            value if convert is None else convert(value)
            for row in rows
            for value, convert in zip(row, converters, strict=True)
        ]


def row_table(table: Any, dialect: Dialect) -> RowTable:
    """What there is to know of *table*: a name, an SQLAlchemy ``Table``, or a mapped class. Raises `UsageError`."""
    if isinstance(table, str):
        return RowTable(quoted_path(table), dialect)
    try:
        from sqlalchemy import Table, inspect
        from sqlalchemy.orm import Mapper
    except ImportError:
        raise UsageError(f"{table!r} is no table; give its name") from None
    mapper: Any = inspect(table, raiseerr=False)
    if isinstance(mapper, Mapper):
        local: Any = mapper.local_table
        named = {prop.key: prop.columns[0] for prop in mapper.column_attrs if prop.columns[0].table is local}
        return _of_table(local, named, table, dialect)
    if isinstance(table, Table):
        plain = cast("Any", table)
        return _of_table(plain, {column.key: column for column in plain.columns}, None, dialect)
    raise UsageError(f"{table!r} is no table; give an SQLAlchemy model, a Table, or the table's name")


def alchemy_table(table: Any) -> Any:
    """The ``sqlalchemy.Table`` that *table* is, or that the model *table* is mapped to; ``None`` if it is neither."""
    try:
        from sqlalchemy import Table, inspect
        from sqlalchemy.orm import Mapper
    except ImportError:
        return None
    found = table
    if not isinstance(table, Table):
        mapper: Any = inspect(table, raiseerr=False)
        found = mapper.local_table if isinstance(mapper, Mapper) else None
    return found if _is(found, Table) else None


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind)


def _of_table(
    table: "sqlalchemy.Table", named: Mapping[str, Any], cls: type | None, dialect: Dialect
) -> RowTable:
    speaks = _dialect(dialect)
    names = {column: name for name, column in named.items()}
    processors = {
        name: column.type.dialect_impl(speaks).bind_processor(speaks) for name, column in named.items()
    }
    return RowTable(
        ".".join(map(quoted, filter(None, (table.schema, table.name)))),
        dialect,
        {name: column.name for name, column in named.items()},
        _uniques(table, names),
        {name: each for name, each in processors.items() if each is not None},
        {
            name: column.default.arg
            for name, column in named.items()
            if column.default is not None and column.default.is_scalar
        },
        cls,
        table,
        tuple(names[column] for column in table.primary_key.columns if column in names),
    )


def _uniques(table: "sqlalchemy.Table", names: Mapping[Any, str]) -> tuple[frozenset[str], ...]:
    from sqlalchemy import UniqueConstraint

    found: list[frozenset[str]] = []
    groups: list[Any] = [table.primary_key.columns]
    groups += [each.columns for each in table.constraints if isinstance(each, UniqueConstraint)]
    groups += [each.columns for each in table.indexes if each.unique]
    groups += [[column] for column in table.columns if column.unique]
    for columns in groups:
        if columns and all(column in names for column in columns):
            found.append(frozenset(names[column] for column in columns))
    return tuple(dict.fromkeys(found))


def _dialect(dialect: Dialect) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import dialect as sqlite

        return sqlite()
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    make: Any = PGDialect_psycopg
    return make()
