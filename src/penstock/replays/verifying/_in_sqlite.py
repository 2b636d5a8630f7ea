"""Comparing two tables of SQLite files that one connection has attached: row by row along the key, in one pass.

Both have an index on the key and are read in its order, which takes less time than hashing every row in Python, and no
memory. Values are compared as SQLite does without a collation: 1 is 1.0, a text is no blob, null is null.
"""

import json
import math
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, cast

from penstock.replays.abc import Column, RowDifference
from penstock.replays.verifying._subject import LONGEST, Found, Subject, counted, quoted, row_difference
from penstock.store.database import Connection, Database

__all__ = ["compare"]

_SAME_JSON: Final = "penstock_same_json"
_SORTED_JSON: Final = "penstock_sorted_json"


def _is_json(column: Column) -> bool:
    return column.type.upper() in ("JSON", "JSONB")


def _same_json(one: Any, other: Any) -> bool:
    """Whether two texts are the same JSON."""
    return bool(_sorted_json(one) == _sorted_json(other))


def _sorted_json(value: Any) -> Any:
    """The one text of a JSON value; what is none, or is beyond all bounds, stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.dumps(json.loads(value, parse_float=_number), sort_keys=True)
    except (ValueError, RecursionError):
        return value


def _number(text: str) -> float | int:
    """1.0 is 1. Raises `ValueError` for a number of which an endless one would be made."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return int(value) if value.is_integer() else value


def _differ(column: Column) -> str:
    name = quoted(column.name)
    test = f"l.{name} IS NOT r.{name} COLLATE BINARY"
    return f"({test} AND NOT {_SAME_JSON}(l.{name}, r.{name}))" if _is_json(column) else f"({test})"


def _on(subject: Subject) -> str:
    """The condition by which rows belong together: the same key, also where ``a`` is ``A`` to the column.

    The first half of it is for an index that has the column's order.
    """
    sides = [(f"l.{quoted(name)}", f"r.{quoted(name)}") for name in subject.key]
    return " AND ".join(f"{live} = {copied} AND {live} = {copied} COLLATE BINARY" for live, copied in sides)


def _said(expression: str) -> str:
    """A value as it is, but cut off where it is long, as `shown` would, so that it is not fetched."""
    note = f"|| '… (' || length({expression}) ||"
    return (
        f"CASE WHEN typeof({expression}) = 'text' AND length({expression}) > {LONGEST} "
        f"THEN substr({expression}, 1, {LONGEST}) {note} ' characters)' "
        f"WHEN typeof({expression}) = 'blob' AND length({expression}) > {LONGEST // 2} "
        f"THEN '\\x' || lower(hex(substr({expression}, 1, {LONGEST // 2}))) {note} ' bytes)' ELSE {expression} END"
    )


def _limited(subject: Subject, alias: str) -> tuple[str, tuple[object, ...]]:
    """The condition on the rows that are compared."""
    if subject.only is None:
        return "1", ()
    return (
        f"CAST({alias}.{quoted(subject.only.column)} AS TEXT) IN (SELECT value FROM json_each(?))",
        (json.dumps(subject.only.values),),
    )


def compare(database: Database, connection: Connection, subject: Subject, *, rows: int) -> Found:
    """Compare one table."""
    raw = cast("sqlite3.Connection", connection)
    raw.create_function(_SAME_JSON, 2, _same_json, deterministic=True)
    raw.create_function(_SORTED_JSON, 1, _sorted_json, deterministic=True)
    counts = [
        _one(database, connection, f"SELECT count(*) FROM {table} t WHERE {where}", parameters)[0]
        for table in (subject.live, subject.copy)
        for where, parameters in [_limited(subject, "t")]
    ]
    if subject.key:
        return _keyed(database, connection, subject, counts[0], counts[1], rows)
    return _bag(database, connection, subject, counts[0], counts[1], rows)


def _one(database: Database, connection: Connection, sql: str, parameters: Sequence[object]) -> Any:
    return database.execute(connection, sql, parameters).fetchone()


def _keyed(
    database: Database, connection: Connection, subject: Subject, live_rows: int, copy_rows: int, most: int
) -> Found:
    (of_live, one), (of_copy, other) = _limited(subject, "l"), _limited(subject, "r")
    is_there = f"r.{quoted(subject.key[0])}"
    tests = [_differ(each) for each in subject.values]
    changed = " OR ".join(tests) or "0"
    joined = (
        f"FROM {subject.live} l LEFT JOIN {subject.copy} r ON {_on(subject)} AND {of_copy} WHERE {of_live}"
    )
    given = (*other, *one)
    if subject.copy_only:
        [matched, others] = _one(
            database,
            connection,
            f"SELECT count(*), count(CASE WHEN {changed} THEN 1 END) {joined} AND {is_there} IS NOT NULL",
            given,
        )
        missing, live_rows, surplus = 0, copy_rows, copy_rows - matched
    else:
        [missing, others] = _one(
            database,
            connection,
            f"SELECT count(*) - count({is_there}), count({is_there}) {joined} AND ({is_there} IS NULL OR {changed})",
            given,
        )
        surplus = copy_rows - (live_rows - missing)
    differing = missing + others + surplus
    if not differing:
        return Found(live_rows, copy_rows)
    found = _rows_there(database, connection, subject, joined, given, tests, is_there, most)
    if surplus:
        found += _surplus(database, connection, subject, (of_live, one), (of_copy, other), most)
    found.sort(key=lambda each: [_order(value) for value in each[0]])
    return Found(live_rows, copy_rows, differing, tuple(each for _, each in found[:most]))


def _order(value: Any) -> tuple[int, Any]:
    """How SQLite sorts values of different kinds."""
    match value:
        case None:
            return (0, 0)
        case int() | float():
            return (1, value)
        case str():
            return (2, value)
        case _:
            return (3, bytes(value))


def _rows_there(
    database: Database,
    connection: Connection,
    subject: Subject,
    joined: str,
    given: Sequence[object],
    tests: Sequence[str],
    is_there: str,
    most: int,
) -> list[tuple[Sequence[Any], RowDifference]]:
    """Rows of the live table that the copy has not, or has with other values; the first by key."""
    keys = [f"l.{quoted(name)}" for name in subject.key]
    parts = [f"{is_there} IS NULL", *keys]
    for each, test in zip(subject.values, tests, strict=True):
        parts.append(test)
        parts += [f"CASE WHEN {test} THEN {_said(f'{side}.{quoted(each.name)}')} END" for side in "lr"]
    changed = " OR ".join(tests) or "0"
    where = (
        f"({is_there} IS NOT NULL AND ({changed}))"
        if subject.copy_only
        else f"({is_there} IS NULL OR {changed})"
    )
    rows = database.execute(
        connection,
        f"SELECT {', '.join(parts)} {joined} AND {where} ORDER BY {', '.join(keys)} LIMIT {most}",
        given,
    ).fetchall()
    found: list[tuple[Sequence[Any], RowDifference]] = []
    for is_missing, *rest in rows:
        key, values = rest[: len(keys)], rest[len(keys) :]
        differing = [
            (each.name, live, copied)
            for each, is_other, live, copied in zip(
                subject.values, values[::3], values[1::3], values[2::3], strict=True
            )
            if is_other and not is_missing
        ]
        found.append((key, row_difference(subject, "missing" if is_missing else "changed", key, differing)))
    return found


def _surplus(
    database: Database,
    connection: Connection,
    subject: Subject,
    of_live: tuple[str, tuple[object, ...]],
    of_copy: tuple[str, tuple[object, ...]],
    most: int,
) -> list[tuple[Sequence[Any], RowDifference]]:
    keys = [f"r.{quoted(name)}" for name in subject.key]
    rows = database.execute(
        connection,
        f"SELECT {', '.join(keys)} FROM {subject.copy} r WHERE {of_copy[0]} AND NOT EXISTS (SELECT 1 "
        f"FROM {subject.live} l WHERE {_on(subject)} AND {of_live[0]}) ORDER BY {', '.join(keys)} LIMIT {most}",
        (*of_copy[1], *of_live[1]),
    ).fetchall()
    return [(key, row_difference(subject, "surplus", key)) for key in rows]


def _bag(
    database: Database, connection: Connection, subject: Subject, live_rows: int, copy_rows: int, most: int
) -> Found:
    """Rows without a key: how often each is on either side."""
    names = [f"t{number}" for number in range(len(subject.columns))]
    if not names:
        return counted(subject, live_rows, copy_rows)
    columns = ", ".join(
        f"{_SORTED_JSON}(t.{quoted(each.name)}) AS {name}"
        if _is_json(each)
        else f"t.{quoted(each.name)} AS {name}"
        for name, each in zip(names, subject.columns, strict=True)
    )
    where, given = _limited(subject, "t")
    having = "< 0" if subject.copy_only else "<> 0"
    by = ", ".join(f"{name} COLLATE BINARY" for name in names)
    grouped = (
        f"SELECT {', '.join([*names, 'sum(d) AS d'])} FROM (SELECT {columns}, 1 AS d FROM {subject.live} t "
        f"WHERE {where} UNION ALL SELECT {columns}, -1 FROM {subject.copy} t WHERE {where}) "
        f"GROUP BY {by} HAVING sum(d) {having}"
    )
    [differing] = _one(
        database, connection, f"SELECT coalesce(sum(abs(d)), 0) FROM ({grouped})", (*given, *given)
    )
    rows = database.execute(
        connection,
        f"SELECT d, {', '.join(map(_said, names))} FROM ({grouped}) ORDER BY {by} LIMIT {most}",
        (*given, *given),
    ).fetchall()
    found = tuple(
        row_difference(subject, "missing" if count > 0 else "surplus", values) for count, *values in rows
    )
    return Found(copy_rows if subject.copy_only else live_rows, copy_rows, differing, found)
