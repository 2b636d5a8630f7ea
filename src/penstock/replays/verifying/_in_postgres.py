"""Comparing two tables inside PostgreSQL: digests by ranges of the key's hash, then the rows of those that differ.

A digest is the sum of a 64-bit hash of each row's text, so that it does not depend on any order. What has another text
and the same value (``1.0`` and ``1.00``, zero and minus zero, JSON in another order) is brought to one text before. The
server's own hash of a row would be quicker, but knows no difference between -1 and 4294967295.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from penstock.replays.abc import RowDifference
from penstock.replays.verifying._subject import LONGEST, Found, Subject, counted, quoted, row_difference
from penstock.store.database import Connection, Database

__all__ = ["compare"]

_RANGES: Final = 1024
_PLAIN: Final = frozenset(
    {"smallint", "integer", "bigint", "boolean", "uuid", "date", "bytea", "numeric", "jsonb", "real"}
    | {"double precision", "timestamp without time zone", "timestamp with time zone", "oid"}
)
"""Types whose ``=`` means the same value."""
_TEXTS: Final = frozenset({"text", "character varying"})
_BRIEF: Final = _PLAIN - {"bytea", "numeric", "jsonb"}
"""Types whose values are never long."""
_IS_JSONB: Final = r"""
strpos({0}::text, '\u0000') = 0 AND {0}::text !~* '[0-9]e[-+]?[0-9]{{4}}' AND regexp_replace(
  replace({0}::text, '\\', ''), '\\ud[89ab][0-9a-f]{{2}}\\ud[c-f][0-9a-f]{{2}}', '', 'gi') !~* '\\ud[89a-f]'"""
"""Whether a JSON can be jsonb: without the character zero, numbers out of all bounds, and halves of characters."""


def _base(type_: str) -> str:
    """A type without what is in brackets: ``numeric(10,2)`` is numeric."""
    head, bracket, rest = type_.partition("(")
    return head + rest.partition(")")[2] if bracket else head


def _canonical(expression: str, type_: str) -> str:
    """An expression of which equal values have the same text."""
    match _base(type_):
        case "numeric":
            return f"trim_scale({expression})"
        case "real" | "double precision":
            return f"({expression} + 0)"
        case "json":
            is_jsonb = _IS_JSONB.format(expression)
            return f"CASE WHEN {is_jsonb} THEN {expression}::jsonb::text ELSE {expression}::text END"
        case _:
            return expression


def _comparable(expression: str, type_: str) -> str:
    """An expression that ``=`` can compare with that of the other side, and finds equal if the values are the same.

    A type of one's own is another one in each schema, collations may be others, and by some of them ``a`` is ``A``.
    """
    base = _base(type_)
    if base in _PLAIN:
        return expression
    text = expression if base in _TEXTS else f"({_canonical(expression, type_)})::text"
    return f'{text} COLLATE "C"'


def _type_compared(type_: str) -> str:
    """The type of what is compared: that of the values, or text."""
    return type_ if _base(type_) in _PLAIN else "text"


def _differ(live: str, copied: str, type_: str) -> str:
    """Whether two values are not the same, null being one."""
    return f"{_comparable(live, type_)} IS DISTINCT FROM {_comparable(copied, type_)}"


def _said(expression: str, type_: str) -> str:
    """An expression that the driver can read whatever it is (an endless date), as JSON where that loses nothing.

    What is long is cut off as `shown` would, so that it is not sent.
    """
    base = _base(type_)
    if base in _BRIEF:
        return f"to_jsonb({expression})"
    if base == "bytea":
        length, unit, most = f"length({expression})", "bytes", LONGEST // 2
        whole = beginning = f"'\\x' || encode(substring({expression} FROM 1 FOR {most}), 'hex')"
    else:
        whole = text = f"({expression})::text"
        length, unit, most, beginning = f"length({text})", "characters", LONGEST, f"left({text}, {LONGEST})"
    cut = f"{beginning} || '… (' || {length} || ' {unit})'"
    if base not in _TEXTS and base not in ("bytea", "numeric", "json"):
        whole, cut = f"to_jsonb({expression})", f"to_jsonb({cut})"
    return f"CASE WHEN {length} > {most} THEN {cut} ELSE {whole} END"


@dataclass(frozen=True, slots=True)
class _Query:
    """A part of a statement with its parameters, in that order."""

    sql: str
    parameters: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tables:
    """A subject with the SQL that is made of it."""

    subject: Subject
    types: Mapping[str, str]

    @property
    def key(self) -> list[str]:
        """The key's columns, comparable with those of the other side."""
        return [_comparable(quoted(name), self.types.get(name, "")) for name in self.subject.key]

    @property
    def place(self) -> str:
        """The range that a row is in."""
        of_key = [
            _canonical(each, self.types.get(name, ""))
            for name, each in zip(self.subject.key, self.key, strict=True)
        ]
        return f"(hashtextextended({_row(of_key)}, 1) & {_RANGES - 1})::int" if of_key else self.hash_place

    @property
    def hash(self) -> str:
        """The hash of all that is compared of a row."""
        texts = [f"{quoted(name)}::text" for name in self.subject.key if name in self.subject.text_keys]
        return f"hashtextextended({_row([*texts, *self.canonical])}, 0)"

    @property
    def hash_place(self) -> str:
        """The range of a row in a bag."""
        return f"({self.hash} & {_RANGES - 1})::int"

    @property
    def canonical(self) -> list[str]:
        """All columns."""
        return [_canonical(quoted(each.name), each.type) for each in self.subject.columns]

    def source(self, table: str, ranges: Sequence[int] | None) -> _Query:
        """``FROM`` one side, with what limits it."""
        terms, parameters = list[str](), list[object]()
        if self.subject.only is not None:
            terms.append(f"{quoted(self.subject.only.column)}::text = ANY (?)")
            parameters.append(list(self.subject.only.values))
        if ranges is not None:
            terms.append(f"{self.place} = ANY (?)")
            parameters.append(list(ranges))
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        return _Query(f"FROM {table}{where}", tuple(parameters))


def _row(expressions: Sequence[str]) -> str:
    return f'ROW({", ".join(expressions)})::text COLLATE "C"'


def compare(database: Database, connection: Connection, subject: Subject, *, rows: int) -> Found:
    """Compare one table."""
    tables = _Tables(subject, {each.name: each.type for each in subject.columns})
    if not (subject.key or subject.columns):
        return counted(
            subject, *(_count(database, connection, tables, each) for each in (subject.live, subject.copy))
        )
    if subject.copy_only:
        return _compared_copy_only(database, connection, tables, rows)
    live = _digests(database, connection, tables, subject.live)
    copied = _digests(database, connection, tables, subject.copy)
    live_rows, copy_rows = (sum(count for count, _ in each.values()) for each in (live, copied))
    ranges = sorted(each for each in {*live, *copied} if live.get(each) != copied.get(each))
    if not ranges:
        return Found(live_rows, copy_rows)
    # Where most of them differ, looking for the range of every row only costs.
    narrowed = ranges if len(ranges) < _RANGES / 2 else None
    differing, found = _rows(database, connection, tables, narrowed, rows)
    return Found(live_rows, copy_rows, differing, found)


def _count(database: Database, connection: Connection, tables: _Tables, table: str) -> int:
    source = tables.source(table, None)
    [count] = database.execute(connection, f"SELECT count(*) {source.sql}", source.parameters).fetchone()
    return int(count)


def _digests(
    database: Database, connection: Connection, tables: _Tables, table: str
) -> dict[int, tuple[int, int]]:
    """By range the number of rows and the sum of their hashes."""
    source = tables.source(table, None)
    place = tables.place if tables.subject.key else f"(h & {_RANGES - 1})::int"
    inner = f"SELECT {tables.hash} AS h" + (f", {place} AS b" if tables.subject.key else "")
    found = database.execute(
        connection,
        f"SELECT {'b' if tables.subject.key else place}, count(*), sum(h) FROM ({inner} {source.sql}) s GROUP BY 1",
        source.parameters,
    ).fetchall()
    return {place: (count, int(total)) for place, count, total in found}


def _rows(
    database: Database, connection: Connection, tables: _Tables, ranges: Sequence[int] | None, most: int
) -> tuple[int, tuple[RowDifference, ...]]:
    if tables.subject.key:
        return _keyed(database, connection, tables, ranges, most)
    return _bag(database, connection, tables, ranges, most)


def _joined(tables: _Tables, ranges: Sequence[int] | None, kind: str) -> _Query:
    """Both sides row by row, with a mark of who is there."""
    subject = tables.subject
    parts = [f"{key} AS k{number}" for number, key in enumerate(tables.key)]
    parts += [f"{quoted(each.name)} AS c{number}" for number, each in enumerate(subject.values)]
    live, copied = (tables.source(each, ranges) for each in (subject.live, subject.copy))
    on = " AND ".join(f"l.k{number} = r.k{number}" for number in range(len(subject.key)))
    columns = ", ".join(["true AS p", *parts])
    return _Query(
        f"FROM (SELECT {columns} {live.sql}) l {kind} JOIN (SELECT {columns} {copied.sql}) r ON {on}",
        live.parameters + copied.parameters,
    )


def _keyed(
    database: Database,
    connection: Connection,
    tables: _Tables,
    ranges: Sequence[int] | None,
    most: int,
    kind: Literal["FULL", "RIGHT"] = "FULL",
) -> tuple[int, tuple[RowDifference, ...]]:
    subject = tables.subject
    joined = _joined(tables, ranges, kind)
    tests = [_differ(f"l.c{number}", f"r.c{number}", each.type) for number, each in enumerate(subject.values)]
    where = " WHERE " + " OR ".join(["l.p IS NULL", "r.p IS NULL", *(f"({test})" for test in tests)])
    [differing] = database.execute(
        connection, f"SELECT count(*) {joined.sql}{where}", joined.parameters
    ).fetchone()
    if not differing:
        return 0, ()
    keys = [f"coalesce(l.k{number}, r.k{number})" for number in range(len(subject.key))]
    parts = ["l.p IS NULL", "r.p IS NULL"]
    parts += [
        _said(key, _type_compared(tables.types.get(name, "")))
        for name, key in zip(subject.key, keys, strict=True)
    ]
    for number, (each, test) in enumerate(zip(subject.values, tests, strict=True)):
        parts.append(test)
        parts += [f"CASE WHEN {test} THEN {_said(f'{side}.c{number}', each.type)} END" for side in "lr"]
    found = database.execute(
        connection,
        f"SELECT {', '.join(parts)} {joined.sql}{where} ORDER BY {', '.join(keys)} LIMIT {most}",
        joined.parameters,
    ).fetchall()
    return differing, tuple(_read(subject, row) for row in found)


def _read(subject: Subject, row: Sequence[Any]) -> RowDifference:
    not_live, not_copied, *rest = row
    key, values = rest[: len(subject.key)], rest[len(subject.key) :]
    if not_live or not_copied:
        return row_difference(subject, "surplus" if not_live else "missing", key)
    differing = [
        (each.name, live, copied)
        for each, is_other, live, copied in zip(
            subject.values, values[::3], values[1::3], values[2::3], strict=True
        )
        if is_other
    ]
    return row_difference(subject, "changed", key, differing)


def _bag(
    database: Database, connection: Connection, tables: _Tables, ranges: Sequence[int] | None, most: int
) -> tuple[int, tuple[RowDifference, ...]]:
    """Rows without a key: how often each is on either side."""
    subject = tables.subject
    names = [f"t{number}" for number in range(len(subject.columns))]
    columns = ", ".join(
        f"{_comparable(quoted(each.name), each.type)} AS {name}"
        for name, each in zip(names, subject.columns, strict=True)
    )
    live, copied = (tables.source(each, ranges) for each in (subject.live, subject.copy))
    having = "< 0" if subject.copy_only else "<> 0"
    grouped = (
        f"SELECT {', '.join([*names, 'sum(d) AS d'])} FROM (SELECT {columns}, 1 AS d {live.sql} "
        f"UNION ALL SELECT {columns}, -1 {copied.sql}) s GROUP BY {', '.join(names)} HAVING sum(d) {having}"
    )
    parameters = live.parameters + copied.parameters
    [differing] = database.execute(
        connection, f"SELECT coalesce(sum(abs(d)), 0) FROM ({grouped}) g", parameters
    ).fetchone()
    typed = [
        _said(name, _type_compared(each.type)) for name, each in zip(names, subject.columns, strict=True)
    ]
    found = database.execute(
        connection,
        f"SELECT d, {', '.join(typed)} FROM ({grouped}) g ORDER BY {', '.join(names)} LIMIT {most}",
        parameters,
    ).fetchall()
    return int(differing), tuple(
        row_difference(subject, "missing" if count > 0 else "surplus", values) for count, *values in found
    )


def _compared_copy_only(database: Database, connection: Connection, tables: _Tables, most: int) -> Found:
    """The rows of the copy, each beside the live one of its key."""
    count = _count(database, connection, tables, tables.subject.copy)
    if tables.subject.key:
        differing, found = _keyed(database, connection, tables, None, most, "RIGHT")
    else:
        differing, found = _bag(database, connection, tables, None, most)
    return Found(count, count, differing, found)
