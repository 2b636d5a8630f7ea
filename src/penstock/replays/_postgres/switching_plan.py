"""Everything that one switch does, written down in statements before the first of them is run."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.layout import Later, Layout
from penstock.replays._postgres.names import quoted
from penstock.replays._postgres.switching_carrying import carried, taken_off
from penstock.replays._postgres.switching_numbers import exchanged, stocked
from penstock.replays._postgres.switching_outside import (
    OutsideKey,
    View,
    outside_keys_to,
    owners_of_dependents,
    repointed,
    views_on,
)
from penstock.replays._postgres.switching_pairs import Pairs, Step, read_pairs
from penstock.replays._postgres.switching_rights import read_rights, settled
from penstock.store.database import Connection, Database

__all__ = ["Plan", "read_marks", "read_plan", "unqualified"]

_PATH: Final = "SELECT pg_catalog.current_setting('search_path')"
_LOOK: Final = "SELECT pg_catalog.set_config('search_path', ?, true)"
_MARKS: Final = """\
WITH live AS (SELECT unnest(?::bigint[])::oid AS oid),
     dependent AS (SELECT d.classid, d.objid, d.refobjid, d.xmin FROM live
                     JOIN pg_catalog.pg_depend AS d ON d.refobjid = live.oid),
     mark(kind, oid, xmin) AS (
    SELECT 'r', c.oid, c.xmin FROM live JOIN pg_catalog.pg_class AS c USING (oid)
    UNION ALL SELECT 'a', a.attrelid, a.xmin FROM live JOIN pg_catalog.pg_attribute AS a ON a.attrelid = live.oid
    UNION ALL SELECT 'd', objid, xmin FROM dependent
    UNION ALL SELECT 'v', r.oid, r.xmin FROM dependent JOIN pg_catalog.pg_rewrite AS r ON r.oid = dependent.objid
    UNION ALL SELECT 't', t.oid, t.xmin FROM live JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = live.oid
    UNION ALL SELECT 'p', p.oid, p.xmin FROM live JOIN pg_catalog.pg_policy AS p ON p.polrelid = live.oid
    UNION ALL SELECT 'f', p.oid, p.xmin FROM dependent JOIN pg_catalog.pg_proc AS p ON p.oid = dependent.objid
    UNION ALL SELECT 'k', k.oid, k.xmin FROM live JOIN pg_catalog.pg_constraint AS k ON k.confrelid = live.oid
    UNION ALL SELECT 's', s.oid, s.xmin FROM dependent JOIN pg_catalog.pg_class AS s
        ON s.oid = dependent.objid AND s.relkind = 'S' AND dependent.classid = 'pg_catalog.pg_class'::regclass
    UNION ALL SELECT 'b', r.oid, r.xmin FROM live JOIN pg_catalog.pg_publication_rel AS r ON r.prrelid = live.oid
    UNION ALL SELECT 'B', b.oid, b.xmin FROM live JOIN pg_catalog.pg_publication_rel AS r ON r.prrelid = live.oid
      JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid
    UNION ALL SELECT 'c', d.objoid, d.xmin FROM live JOIN pg_catalog.pg_description AS d ON d.objoid = live.oid
    UNION ALL SELECT 'c', d.objoid, d.xmin FROM live JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = live.oid
      JOIN pg_catalog.pg_description AS d ON d.objoid = t.oid)
SELECT coalesce(pg_catalog.md5(pg_catalog.string_agg(m, ',' ORDER BY m)), '')
  FROM (SELECT kind || oid::text || ':' || xmin::text AS m FROM mark) AS each"""
_LATER: Final = """\
SELECT t.relname::text, k.conname::text, pg_catalog.pg_get_constraintdef(k.oid)
  FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS t ON t.oid = k.conrelid
 WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY (?::bigint[]::oid[])
   AND k.confrelid <> ALL (?::bigint[]::oid[]) ORDER BY t.relname, k.conname"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is locked, and what is done then."""

    pairs: Pairs
    views: tuple[View, ...]
    keys: tuple[OutsideKey, ...]
    tables: Mapping[int, str]
    """Other tables that are changed, by their oids, as they are written in SQL."""
    locks: tuple[str, ...]
    """What locks the views that are changed, and sequences."""
    before: tuple[Step, ...]
    """What is taken from the live ones."""
    after: tuple[Step, ...]
    """What is given to the new ones, when they have changed places."""
    layout: Layout
    """The note of the copy as it is to be then."""
    marks: str
    """Changes with everything that this was read from."""
    rights: str
    """What `read_rights` says of the live ones."""

    @property
    def oids(self) -> list[int]:
        """Of all tables and materialised views."""
        return [each.oid for each in (*self.pairs.live, *self.pairs.copied)]


@contextlib.contextmanager
def unqualified(database: Database, connection: Connection, search_path: str = "") -> Iterator[None]:
    """Within the block names are looked up in *search_path* only: by default, none but those of the catalog."""
    [before] = one(database, connection, _PATH)
    database.execute(connection, _LOOK, (search_path,)).fetchall()
    yield
    database.execute(connection, _LOOK, (before,)).fetchall()


def read_plan(database: Database, connection: Connection, schema: str, key: str) -> Plan:
    """Read it inside a transaction, which changes nothing."""
    pairs = read_pairs(database, connection, schema, key)
    with unqualified(database, connection):
        marks = _marks(database, connection, pairs)
        views = views_on(database, connection, pairs)
        keys = outside_keys_to(database, connection, pairs)
        tables, locks = owners_of_dependents(database, connection, pairs)
        tables |= {each.oid: each.written for each in keys}
        locks = [
            *dict.fromkeys([*(each.lock for each in views), *locks, *stocked(database, connection, pairs)])
        ]
        rights = read_rights(database, connection, pairs)
        before = [*settled(database, connection, pairs), *(each.dropped() for each in keys)]
        before += taken_off(database, connection, pairs)
        before += exchanged(database, connection, pairs)
        after = [*carried(database, connection, pairs)]
        after += [each.replaced() for each in views]
        after += repointed(database, connection, pairs)
        after += [step for each in keys for step in each.added()]
        layout = _layout(database, connection, pairs, keys)
    return Plan(
        pairs,
        tuple(views),
        tuple(keys),
        tables,
        tuple(locks),
        tuple(before),
        tuple(after),
        layout,
        marks,
        rights,
    )


def read_marks(database: Database, connection: Connection, plan: Plan) -> str:
    """The present value of `Plan.marks`."""
    return _marks(database, connection, plan.pairs)


def _marks(database: Database, connection: Connection, pairs: Pairs) -> str:
    oids = [each.oid for each in (*pairs.live, *pairs.copied)]
    return str(one(database, connection, _MARKS, (oids,))[0])


def _layout(database: Database, connection: Connection, pairs: Pairs, keys: list[OutsideKey]) -> Layout:
    """The former live tables have foreign keys of their own to tables outside."""
    live = [each.oid for each in pairs.live]
    later = [
        Later(table, name, f"CONSTRAINT {quoted(name)} {definition.removesuffix(' NOT VALID')}")
        for table, name, definition in rows(database, connection, _LATER, (live, live))
    ]
    pending = {*pairs.layout.unvalidated}
    made_again = [
        (each.schema, each.table, each.name)
        for each in keys
        if each.is_valid or (each.schema, each.table, each.name) in pending
    ]
    return replace(pairs.layout, later=tuple(later), unvalidated=tuple(made_again))
