"""Materialised views on live tables: each gets a counterpart over the copy's, which changes places as tables do.

A materialised view cannot be replaced in place, and filling one takes as long as its query. So that is done before the
switch, beside readers; the switch finds it full.
"""

from collections.abc import Callable, Sequence
from typing import Final

from penstock.errors import ReplayError
from penstock.projections._engine._sql import one, rows, transaction
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.switching_pairs import Pair, Pairs, read_pairs
from penstock.replays._postgres.switching_plan import unqualified
from penstock.store.database import Connection, Database

__all__ = ["prepare_materialised", "seen_from_copy"]

_DEFINITION: Final = """\
SELECT pg_catalog.pg_get_viewdef(c.oid), coalesce(c.reloptions, '{}'), c.relispopulated
  FROM pg_catalog.pg_class AS c WHERE c.oid = ?::bigint::oid"""
_INDEXES: Final = """\
SELECT pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE i.indrelid = ?::bigint::oid AND i.indisvalid ORDER BY i.indexrelid"""
_READS: Final = """\
SELECT DISTINCT d.refobjid::regclass::text FROM pg_catalog.pg_rewrite AS r
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
   AND d.refclassid = 'pg_catalog.pg_class'::regclass
 WHERE r.ev_class = pg_catalog.to_regclass(?::text) AND d.refobjid = ANY (?::bigint[]::oid[]) ORDER BY 1"""


def prepare_materialised(
    database: Database, connection: Connection, schema: str, key: str, say: Callable[[str], None]
) -> None:
    """Make what is missing in the copy, and fill again what is there. Raises `ReplayError` naming the view."""
    pairs = read_pairs(database, connection, schema, key)
    for pair in pairs.relations:
        if pair.live is None or pair.live.kind != "m":
            continue
        say(f"filling {pair.shown} for the copy")
        if pair.copy is None:
            with transaction(database, connection):
                _make(database, connection, pairs, pair)
        else:
            database.execute(connection, f"REFRESH MATERIALIZED VIEW {pair.copy.written}")


def seen_from_copy(pairs: Pairs) -> tuple[str, str]:
    """Search paths: in which the names of live tables are written without schemas, and where they mean the copy's."""
    homes = [quoted(home) for home in dict.fromkeys(pairs.homes.values())]
    return ", ".join(homes), ", ".join([quoted(pairs.schema), *homes])


def _make(database: Database, connection: Connection, pairs: Pairs, pair: Pair) -> None:
    assert pair.live is not None
    place = written(pairs.schema, pair.name)
    plain, copied = seen_from_copy(pairs)
    with unqualified(database, connection, plain):
        definition, options, is_filled = one(database, connection, _DEFINITION, (pair.live.oid,))
    with unqualified(database, connection):
        indexes = rows(database, connection, _INDEXES, (pair.live.oid,))
    with unqualified(database, connection, copied):
        data = "" if is_filled else " WITH NO DATA"
        settings = f" WITH ({', '.join(options)})" if options else ""
        database.execute(
            connection, f"CREATE MATERIALIZED VIEW {place}{settings} AS {definition.rstrip(';')}{data}"
        )
    _check(database, connection, pairs, pair, place)
    for sql, there in indexes:
        head, on, tail = sql.partition(f" ON {there} USING ")
        if not on:
            raise ReplayError(f"the index of {pair.shown} cannot be read: {sql}")
        database.execute(connection, f"{head} ON {place} USING {tail}")
    database.execute(connection, f"ANALYZE {place}")


def _check(database: Database, connection: Connection, pairs: Pairs, pair: Pair, place: str) -> None:
    live: Sequence[int] = [each.oid for each in pairs.live]
    if read := rows(database, connection, _READS, (place, live)):
        names = ", ".join(name for (name,) in read)
        raise ReplayError(f"{pair.shown} cannot be made over the copy: there it would still read {names}")
