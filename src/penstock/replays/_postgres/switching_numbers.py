"""Numbers that live tables draw from a sequence of nobody's, which other tables may draw from as well.

Such a sequence stays where it is, and the copy has one of its own. Whatever is live draws from the first, the other
generation from the second: so a switch changes the defaults of both, and neither draws a number that it has already.

With ``CACHE`` connections have numbers in stock that the other generation's rows may have by then. They lose them in
the switch, for which the sequences are locked as tables are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.layout import Layout, read_layout
from penstock.replays._postgres.names import literal, quoted, written
from penstock.replays._postgres.switching_pairs import Pairs, Step
from penstock.store.database import Connection, Database

__all__ = ["Twins", "advance", "exchanged", "read_twins", "stocked"]

_BOTH: Final = """\
SELECT t.oid::bigint, s.oid::bigint, q.seqincrement, o.seqcache > 1, q.seqcache > 1,
       pg_catalog.format('%I.%I', tn.nspname, t.relname), pg_catalog.format('%I.%I', sn.nspname, s.relname)
  FROM pg_catalog.pg_class AS t JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
  JOIN pg_catalog.pg_class AS s ON s.relkind = 'S' JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace
  JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = s.oid JOIN pg_catalog.pg_sequence AS o ON o.seqrelid = t.oid
 WHERE t.relkind = 'S' AND t.oid = pg_catalog.to_regclass(?::text) AND s.oid = pg_catalog.to_regclass(?::text)"""
_DRAWN: Final = """\
SELECT DISTINCT t.oid::bigint, pg_catalog.format('%I.%I', n.nspname, t.relname), a.attname::text,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM pg_catalog.pg_attrdef AS d
  JOIN pg_catalog.pg_class AS t ON t.oid = d.adrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  JOIN pg_catalog.pg_depend AS p ON p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
   AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid = ANY (?::bigint[]::oid[])
 WHERE t.oid = ANY (?::bigint[]::oid[]) ORDER BY 2, 3"""


@dataclass(frozen=True, slots=True)
class Twins:
    """A sequence that stays, and the one that the other generation draws from."""

    own_oid: int
    oid: int
    increment: int
    is_own_stocked: bool
    """Whether connections draw several numbers at a time, here and below."""
    is_stocked: bool
    own: str
    """As it is written in SQL, here and below."""
    shared: str

    @property
    def _both(self) -> str:
        # The server knows nothing of their size, and would plan for millions of rows.
        one_row = "(SELECT last_value, is_called FROM {} LIMIT 1)"
        return f"FROM {one_row.format(self.shared)} AS s CROSS JOIN {one_row.format(self.own)} AS o"

    @property
    def advanced(self) -> str:
        """Draws from the shared one until it is as far; nobody who draws meanwhile gets a number twice."""
        return (
            f"SELECT count(pg_catalog.nextval({literal(self.shared)})) "
            f"{self._both} CROSS JOIN LATERAL pg_catalog.generate_series(1, "
            f"((o.last_value::numeric - s.last_value) / {self.increment} "
            "+ o.is_called::int - s.is_called::int)::bigint)"
        )

    @property
    def followed(self) -> str:
        """Sets its own one, from which nobody draws now, to where the shared one is."""
        far = f"{{0}}.last_value::numeric * {1 if self.increment > 0 else -1}, {{0}}.is_called"
        return (
            f"SELECT pg_catalog.setval({literal(self.own)}, s.last_value, s.is_called) "
            f"{self._both} WHERE ({far.format('s')}) > ({far.format('o')})"
        )


def read_twins(database: Database, connection: Connection, schema: str, layout: Layout) -> list[Twins]:
    """Those that are both there."""
    found = [
        one(database, connection, _BOTH, (written(schema, own), written(home, name)))
        for own, home, name in layout.twins
    ]
    return [Twins(*row) for row in found if row is not None]


def stocked(database: Database, connection: Connection, pairs: Pairs) -> Iterator[str]:
    """What locks those that connections may have numbers of in stock, and has them forget these. Changes nothing else.

    The server gives a sequence that is altered another file, by which every connection knows.
    """
    for each in read_twins(database, connection, pairs.schema, pairs.layout):
        if each.is_stocked:
            yield f"ALTER SEQUENCE {each.shared} INCREMENT BY {each.increment}"
        if each.is_own_stocked:
            yield f"ALTER SEQUENCE {each.own} INCREMENT BY {each.increment}"


def exchanged(database: Database, connection: Connection, pairs: Pairs) -> Iterator[Step]:
    """What has the copy's tables draw from the shared ones, and the live ones from the others; before they are moved.

    No name is to be visible in the transaction but those of the catalog.
    """
    twins = read_twins(database, connection, pairs.schema, pairs.layout)
    for each in twins:
        yield Step(f"sequence {each.shared}", each.advanced)
        yield Step(f"sequence {each.shared}", each.followed)
    sequences = [oid for each in twins for oid in (each.own_oid, each.oid)]
    copied = {each.oid for each in pairs.copied}
    tables = [each.oid for each in (*pairs.live, *pairs.copied)]
    for oid, table, column, before in rows(database, connection, _DRAWN, (sequences, tables)):
        after = str(before)
        for each in twins:
            was, will = (each.own, each.shared) if oid in copied else (each.shared, each.own)
            after = after.replace(f"{literal(was)}::regclass", f"{literal(will)}::regclass")
        if after != before:
            yield Step(
                f"default of {table}.{column}",
                f"ALTER TABLE {table} ALTER COLUMN {quoted(column)} SET DEFAULT {after}",
            )


def advance(database: Database, connection: Connection, schema: str, key: str) -> None:
    """Beside readers and writers: the shared ones come as far as the copy's, however many numbers that is."""
    layout = read_layout(database, connection, schema, key)
    if layout is not None:
        for each in read_twins(database, connection, schema, layout):
            database.execute(connection, each.advanced).fetchall()
