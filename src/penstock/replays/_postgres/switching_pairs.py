"""What changes places in a switch: tables, materialised views on them, and what is named beside them in a schema.

Indexes, row types, and sequences that belong to a column go with their table. Sequences and types with a life of their
own, and extended statistics, have to be sent by themselves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.errors import ReplayError
from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.layout import Layout, read_layout
from penstock.replays._postgres.names import quoted, written
from penstock.store._postgres.errors import speaking_of
from penstock.store.database import Connection, Database

__all__ = ["Pair", "Pairs", "Relation", "Step", "moves", "read_pairs", "take_steps"]

_NAMED: Final = """\
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(?::text[], ?::text[])) AND c.relkind IN ('r', 'p', 'S', 'm')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S'
                      AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)
 ORDER BY c.oid"""
_TYPES: Final = """\
SELECT n.nspname::text, t.typname::text
  FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
 WHERE (n.nspname, t.typname) IN (SELECT * FROM unnest(?::text[], ?::text[])) AND t.typtype IN ('e', 'd')
 ORDER BY t.oid"""
_MATERIALISED: Final = """\
WITH RECURSIVE found(oid) AS (
    SELECT unnest(?::bigint[])::oid
    UNION
    SELECT v.oid FROM found
      JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = found.oid
       AND d.classid = 'pg_catalog.pg_rewrite'::regclass
      JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
      JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'm')
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text
  FROM found JOIN pg_catalog.pg_class AS c ON c.oid = found.oid AND c.relkind = 'm'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY c.oid"""
_STATISTICS: Final = """\
SELECT s.stxrelid::bigint, n.nspname::text, s.stxname::text
  FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace
 WHERE s.stxrelid = ANY (?::bigint[]::oid[]) ORDER BY s.oid"""
_WORDS: Final = {"r": "TABLE", "p": "TABLE", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a switch, and what it is about."""

    subject: str
    sql: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, materialised view or sequence as it is now."""

    oid: int
    schema: str
    name: str
    kind: str
    """As in ``pg_class.relkind``."""

    @property
    def written(self) -> str:
        """As it is written in SQL."""
        return written(self.schema, self.name)

    @property
    def word(self) -> str:
        """What it is called in statements."""
        return _WORDS[self.kind]

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return self.kind in ("r", "p")


@dataclass(frozen=True, slots=True)
class Pair:
    """What has one name in both generations; one of the two may be missing."""

    name: str
    home: str
    """The schema in which it is live."""
    live: Relation | None
    copy: Relation | None

    @property
    def word(self) -> str:
        """What it is called in statements."""
        there = self.live or self.copy
        assert there is not None
        return there.word

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.word.lower()} {self.home}.{self.name}"

    @property
    def written(self) -> str:
        """The live one, now or after the switch, as it is written in SQL."""
        return written(self.home, self.name)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Everything that changes places."""

    schema: str
    """The copy's."""
    layout: Layout
    relations: tuple[Pair, ...]
    types: tuple[tuple[str, str], ...]
    """Schema and name."""
    homes: Mapping[str, str]
    """By the name of what was made in the copy, the schema in which it is live."""
    statistics: tuple[tuple[int, str, str], ...] = ()
    """The table's oid, schema and name."""

    @property
    def full(self) -> list[Pair]:
        """Tables and materialised views that both have."""
        return [pair for pair in self.relations if pair.live and pair.copy and pair.live.kind != "S"]

    @property
    def live(self) -> list[Relation]:
        """Tables and materialised views that are live."""
        return [pair.live for pair in self.relations if pair.live is not None and pair.live.kind != "S"]

    @property
    def copied(self) -> list[Relation]:
        """Those of the copy."""
        return [pair.copy for pair in self.relations if pair.copy is not None and pair.copy.kind != "S"]

    @property
    def both(self) -> tuple[list[int], list[int]]:
        """The oids of what both have: the live ones, and the copy's in the same order."""
        live = [pair.live.oid for pair in self.full if pair.live]
        copied = [pair.copy.oid for pair in self.full if pair.copy]
        return live, copied


def read_pairs(database: Database, connection: Connection, schema: str, key: str) -> Pairs:
    """What would change places now. Raises `ReplayError` if there is no copy."""
    layout = read_layout(database, connection, schema, key)
    if layout is None:
        raise ReplayError(f"the copy of replay {key!r} is not there; nothing was switched")
    homes = _homes(database, connection, layout)
    found = _named(database, connection, schema, homes)
    tables = [each.oid for each in found if each.is_table and each.schema != schema]
    materialised = [Relation(*row) for row in rows(database, connection, _MATERIALISED, (tables,))]
    homes |= {each.name: each.schema for each in materialised}
    if materialised:
        found = _named(database, connection, schema, homes)
    by_place = {(each.schema, each.name): each for each in found}
    relations = tuple(
        Pair(name, home, by_place.get((home, name)), by_place.get((schema, name)))
        for name, home in homes.items()
        if (home, name) in by_place or (schema, name) in by_place
    )
    names, schemas = [*homes, *homes], [*homes.values(), *(schema for _ in homes)]
    return Pairs(
        schema,
        layout,
        relations,
        tuple((where, name) for where, name in rows(database, connection, _TYPES, (schemas, names))),
        homes,
        tuple(
            (oid, where, name)
            for oid, where, name in rows(database, connection, _STATISTICS, ([each.oid for each in found],))
        ),
    )


def _homes(database: Database, connection: Connection, layout: Layout) -> dict[str, str]:
    here = one(database, connection, "SELECT pg_catalog.current_schema()::text")[0]
    found = {name: schema or here for schema, name in layout.moved}
    return found | {each.name: each.schema for each in layout.tables}


def _named(
    database: Database, connection: Connection, schema: str, homes: Mapping[str, str]
) -> list[Relation]:
    names, schemas = [*homes, *homes], [*homes.values(), *(schema for _ in homes)]
    return [Relation(*row) for row in rows(database, connection, _NAMED, (schemas, names))]


def moves(pairs: Pairs, parking: str) -> Iterator[Step]:
    """What has each go where the other was. The live ones wait in the schema *parking* meanwhile."""
    things = list(_things(pairs))
    theirs = [each for each in things if each.schema != pairs.schema]
    ours = [each for each in things if each.schema == pairs.schema]
    yield Step("the exchange", f"CREATE SCHEMA {quoted(parking)}")
    yield from _sent(theirs, lambda _: parking)
    yield from _sent(ours, lambda thing: thing.home)
    yield from _sent(
        [_Thing(each.word, parking, each.name, each.home) for each in theirs], lambda _: pairs.schema
    )
    yield Step("the exchange", f"DROP SCHEMA {quoted(parking)}")


@dataclass(frozen=True, slots=True)
class _Thing:
    word: str
    schema: str
    name: str
    home: str


def _things(pairs: Pairs) -> Iterator[_Thing]:
    home_of: dict[int, str] = {}
    for pair in pairs.relations:
        for each in (pair.live, pair.copy):
            if each is not None:
                home_of[each.oid] = pair.home
                yield _Thing(each.word, each.schema, each.name, pair.home)
    for schema, name in pairs.types:
        yield _Thing("TYPE", schema, name, pairs.homes[name])
    for oid, schema, name in pairs.statistics:
        yield _Thing("STATISTICS", schema, name, home_of[oid])


def _sent(things: Sequence[_Thing], where: Callable[[_Thing], str]) -> Iterator[Step]:
    for each in things:
        place = written(each.schema, each.name)
        yield Step(
            f"{each.word.lower()} {each.name}", f"ALTER {each.word} {place} SET SCHEMA {quoted(where(each))}"
        )


def take_steps(database: Database, connection: Connection, steps: Sequence[Step]) -> None:
    """Run them, in one round trip."""
    ours: Any = connection
    if steps:
        with speaking_of(database.shown):
            # Several statements cannot be prepared together.
            ours.execute(";\n".join(step.sql for step in steps), prepare=False)
