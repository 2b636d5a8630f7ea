"""The switch of a partial replay: the rows of its part change places, and the tables stay where they are.

The copy has the rows of the part only. They replace those that are live, in one transaction and without any lock that a
reader would notice; the former rows go into the copy, so the same call leads back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import PenstockError, ReplayRefusedError
from penstock.projections._engine._sql import rows
from penstock.replays._postgres.names import quoted
from penstock.replays._postgres.switching_pairs import Pair, Pairs, read_pairs
from penstock.replays.abc import Part
from penstock.store.database import Connection, Database

if TYPE_CHECKING:
    from penstock.replays._postgres.copy import PostgresCopy

__all__ = ["PartTable", "exchange_part", "keys_of", "read_part_tables"]

_COLUMNS: Final = """\
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(a.atttypid, -1),
       a.attidentity <> '' OR EXISTS (
           SELECT FROM pg_catalog.pg_depend AS d
             JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid AND f.adrelid = a.attrelid AND f.adnum = a.attnum
             JOIN pg_catalog.pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S'
            WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass),
       EXISTS (SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[])),
       EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
                WHERE k.contype = 'f' AND k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey))
  FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = ?::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"""
_PARENTS: Final = """\
SELECT k.conrelid::bigint, k.confrelid::bigint FROM pg_catalog.pg_constraint AS k
 WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
   AND k.conrelid = ANY (?::bigint[]::oid[]) AND k.confrelid = ANY (?::bigint[]::oid[])"""
_COUNTERS: Final = """\
SELECT a.attname::text, s.place, q.seqincrement > 0
  FROM pg_catalog.pg_attribute AS a
 CROSS JOIN LATERAL pg_catalog.pg_get_serial_sequence(?::text, a.attname) AS s(place)
  JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = s.place::regclass
 WHERE a.attrelid = ?::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped"""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    any_length: str
    """The type without a length, to which a longer text is not cut."""
    is_drawn: bool
    """From a sequence."""
    is_key: bool
    is_referred: bool


@dataclass(frozen=True, slots=True)
class PartTable:
    """A table some of whose rows change places."""

    pair: Pair
    by: str
    """The column by which rows belong to a key."""
    columns: tuple[_Column, ...]
    copied: tuple[_Column, ...]

    @property
    def live(self) -> str:
        """The live one, as it is written in SQL."""
        assert self.pair.live is not None
        return self.pair.live.written

    @property
    def copy(self) -> str:
        """The copy's."""
        assert self.pair.copy is not None
        return self.pair.copy.written

    @property
    def key(self) -> tuple[str, ...]:
        """By which rows are the same in both; empty where numbers are drawn for them."""
        keys = [each for each in self.columns if each.is_key]
        return () if any(each.is_drawn for each in keys) else tuple(each.name for each in keys)

    def reasons(self) -> Iterator[str]:
        """Why its rows cannot change places."""
        ours = {each.name: each.type for each in self.copied}
        theirs = {each.name: each.type for each in self.columns}
        if ours != theirs:
            names = sorted(name for name, _ in ours.items() ^ theirs.items())
            yield f"its columns are not the same in both ({', '.join(names)}); replay all of it"
        if self.pair.live is not None and self.pair.live.kind == "p":
            yield "it is partitioned; replay all of it"
        if self.by not in theirs:
            yield f"it has no column {self.by!r}, by which its rows would belong to a key"
        drawn = [each.name for each in self.columns if each.is_drawn and each.is_referred]
        if drawn:
            yield (
                f"other tables refer to its column {drawn[0]!r}, whose numbers are not the same in both; "
                "give it a key that events have, or replay all of it"
            )


def keys_of(part: Part) -> tuple[str, ...]:
    """The keys of a part, or of its streams."""
    return part.keys or tuple(stream.partition("-")[2] for stream in part.streams)


def read_part_tables(database: Database, connection: Connection, pairs: Pairs, part: Part) -> list[PartTable]:
    """The tables of a part, those first that others refer to."""
    found = [
        PartTable(
            pair,
            part.rows[pair.name],
            _columns(database, connection, pair.live.oid),
            _columns(database, connection, pair.copy.oid),
        )
        for pair in pairs.full
        if pair.name in part.rows and pair.live is not None and pair.copy is not None and pair.live.is_table
    ]
    by_oid = {each.pair.live.oid: each for each in found if each.pair.live is not None}
    before: dict[int, list[int]] = {oid: [] for oid in by_oid}
    for child, parent in rows(database, connection, _PARENTS, (list(by_oid), list(by_oid))):
        before[child].append(parent)
    try:
        return [by_oid[oid] for oid in TopologicalSorter(before).static_order()]
    except CycleError:
        return found


def _columns(database: Database, connection: Connection, oid: int) -> tuple[_Column, ...]:
    return tuple(_Column(*row) for row in rows(database, connection, _COLUMNS, (oid,)))


def exchange_part(database: Database, connection: Connection, copy: "PostgresCopy") -> None:
    """Exchange the rows, inside the transaction that holds the checkpoints. Raises `ReplayRefusedError`."""
    pairs = read_pairs(database, connection, copy.where, copy.key)
    tables = read_part_tables(database, connection, pairs, copy.part)
    if reasons := [f"table {each.pair.name}: {why}" for each in tables for why in each.reasons()]:
        raise ReplayRefusedError(copy.key, step="be switched", reasons=reasons)
    keys = list(keys_of(copy.part))
    try:
        _exchange(database, connection, tables, keys)
    except PenstockError:
        raise
    except Exception as failure:
        said = " ".join(str(failure).split())
        raise ReplayRefusedError(
            copy.key,
            step="be switched",
            reasons=[f"its rows cannot take their place ({said}); nothing was switched"],
        ) from failure
    database.execute(
        connection,
        "UPDATE penstock_checkpoints SET epoch = epoch + 1 "
        "WHERE projection = ANY (?::text[]) AND generation IN ('', ?)",
        (list(copy.projections), copy.key),
    )


def _exchange(
    database: Database, connection: Connection, tables: Sequence[PartTable], keys: list[str]
) -> None:
    former: Mapping[str, str] = {
        each.live: f"pg_temp.{quoted(f'penstock_former_{number}')}" for number, each in enumerate(tables)
    }

    def run(sql: str, *parameters: object) -> Any:
        return database.execute(connection, sql, parameters)

    for each in tables:
        run(
            f"CREATE TEMPORARY TABLE {former[each.live].partition('.')[2]} ON COMMIT DROP AS "
            f"SELECT {_listed(each)} FROM {each.live} WITH NO DATA"
        )
        run(
            f"INSERT INTO {former[each.live]} SELECT {_listed(each)} FROM {each.live} AS l WHERE {_part(each)}",
            keys,
        )
    for each in reversed(tables):
        gone = f" AND NOT EXISTS (SELECT FROM {each.copy} AS c WHERE {_same(each)})" if each.key else ""
        run(f"DELETE FROM {each.live} AS l WHERE {_part(each)}{gone}", keys)
    for each in tables:
        run(_put(each))
    for each in reversed(tables):
        run(f"DELETE FROM {each.copy}")
    for each in tables:
        run(
            f"INSERT INTO {each.copy} ({_listed(each)}) OVERRIDING SYSTEM VALUE "
            f"SELECT {_listed(each)} FROM {former[each.live]}"
        )
        _count_on(database, connection, each)


def _listed(table: PartTable) -> str:
    return ", ".join(quoted(each.name) for each in table.columns)


def _part(table: PartTable) -> str:
    """Which live rows ``l`` are of the part: by their key, or because the copy has them."""
    type_ = next(each.any_length for each in table.columns if each.name == table.by)
    mine = f"l.{quoted(table.by)} = ANY (?::text[]::{type_}[])"
    if not table.key:
        return mine
    # Each half by an index of its own, which an OR of the two would not be.
    return (
        f"l.ctid IN (SELECT l.ctid FROM {table.live} AS l WHERE {mine} "
        f"UNION SELECT l.ctid FROM {table.copy} AS c JOIN {table.live} AS l ON {_same(table)})"
    )


def _same(table: PartTable) -> str:
    return " AND ".join(f"c.{quoted(name)} = l.{quoted(name)}" for name in table.key)


def _put(table: PartTable) -> str:
    """The copy's rows into the live table; rows that are there are changed, so that what refers to them stays."""
    # Numbers that are drawn are drawn anew, or stay: those of the copy may belong to other rows.
    names = [each.name for each in table.columns if not each.is_drawn]
    listed = ", ".join(map(quoted, names))
    put = f"INSERT INTO {table.live} ({listed}) SELECT {listed} FROM {table.copy}"
    if not table.key:
        return put
    changes = ", ".join(
        f"{quoted(name)} = excluded.{quoted(name)}" for name in names if name not in table.key
    )
    return (
        f"{put} ON CONFLICT ({', '.join(map(quoted, table.key))}) "
        f"{f'DO UPDATE SET {changes}' if changes else 'DO NOTHING'}"
    )


def _count_on(database: Database, connection: Connection, table: PartTable) -> None:
    """Numbers that the copy draws from now on are none of those that it has got."""
    assert table.pair.copy is not None
    parameters = (table.copy, table.pair.copy.oid)
    for column, sequence, is_rising in rows(database, connection, _COUNTERS, parameters):
        farther, farthest = ("greatest", "max") if is_rising else ("least", "min")
        database.execute(
            connection,
            f"SELECT pg_catalog.setval(?::regclass, {farther}((SELECT {farthest}({quoted(column)}) FROM {table.copy}), "
            f"(SELECT last_value FROM {sequence})))",
            (sequence,),
        ).fetchall()
