"""What the tests of copied tables share: projections of a few words, and the shape of a table."""

from typing import Any

import psycopg

from penstock.projections import Projection
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench

__all__ = ["placed", "quietly", "running", "shape"]

_SHAPE = """
SELECT 'column', a.attname::text, regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*\\.', '')
       || CASE WHEN a.attnotnull THEN '!' ELSE '' END || a.attidentity::text || a.attgenerated::text
  FROM pg_attribute a WHERE a.attrelid = {0}::regclass AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index', c.relname::text, regexp_replace(pg_get_indexdef(c.oid), ' ON .* USING ', ' USING ')
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {0}::regclass
UNION ALL
SELECT contype::text, conname::text, regexp_replace(pg_get_constraintdef(oid), 'REFERENCES .*\\(', 'REFERENCES (')
  FROM pg_constraint WHERE conrelid = {0}::regclass AND contype <> 'n'
ORDER BY 1, 2, 3"""


def shape(bench: Bench, relation: str) -> list[tuple[Any, ...]]:
    """Columns, indexes and constraints of a table, without the schemas that they are in."""
    return bench.rows(_SHAPE.format("'" + relation.replace("'", "''") + "'"))


def placed(number: int = 1, customer: str = "ann") -> OrderPlaced:
    """An order."""
    return OrderPlaced(order_id=f"o-{number}", customer=customer, total_cents=100 * number)


def quietly(*tables: Any, name: str = "totals", **how: Any) -> Projection:
    """A projection that has these tables and writes nothing."""
    projection = Projection(name, tables=tables, **how)

    @projection.on(OrderPlaced)
    def nothing(order: OrderPlaced) -> None:
        pass

    return projection


def running(sql: str, *tables: Any, name: str = "totals") -> Projection:
    """A projection that runs one statement for each order."""
    projection = Projection(name, tables=tables)

    @projection.on(OrderPlaced)
    def run(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute(sql.encode(), {"customer": order.customer, "order": order.order_id})

    return projection
