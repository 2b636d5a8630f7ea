"""Views are rehearsed before a switch: each is made over the copy's tables once, and taken back."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.switching_materialised import seen_from_copy
from penstock.replays._postgres.switching_plan import Plan, unqualified
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_views"]

_NAME: Final = "penstock_rehearsal"
_DEFINITION: Final = "SELECT pg_catalog.pg_get_viewdef(?::bigint::oid)"
_COLUMNS: Final = """\
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_BY_OID: Final = _COLUMNS.format("?::bigint::oid")
_BY_NAME: Final = _COLUMNS.format("pg_catalog.to_regclass(?::text)")
_BEYOND: Final = """\
WITH RECURSIVE found(oid) AS (
    SELECT unnest(?::bigint[])::oid
    UNION
    SELECT r.ev_class FROM found
      JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = found.oid
       AND d.classid = 'pg_catalog.pg_rewrite'::regclass
      JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid AND r.rulename = '_RETURN')
SELECT found.oid::regclass::text FROM found JOIN pg_catalog.pg_class AS c ON c.oid = found.oid AND c.relkind = 'm'
 WHERE found.oid <> ALL (?::bigint[]::oid[]) ORDER BY 1"""


def of_views(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Those that cannot be made over the copy's tables with the columns that they have now, and what is to be known."""
    for view in plan.views:
        if reason := _rehearsed(database, connection, plan, view.oid):
            yield _refused(view.shown, reason)
    for pair in plan.pairs.relations:
        if pair.live is None or pair.live.kind != "m":
            continue
        if reason := _rehearsed(database, connection, plan, pair.live.oid):
            yield _refused(pair.shown, reason)
        else:
            yield Finding(
                "note",
                pair.shown,
                "one like it over the copy's tables is filled before the switch, and takes its place then",
            )
    live = [each.oid for each in plan.pairs.live]
    for (name,) in rows(database, connection, _BEYOND, (live, live)):
        yield Finding(
            "warning",
            f"materialized view {name}",
            "it reads the tables through a view, so it shows what is live now until it is refreshed",
        )


def _refused(subject: str, reason: str) -> Finding:
    return Finding(
        "refusal",
        subject,
        f"it cannot be made over the copy's tables: {reason}; change or drop it before the switch",
    )


def _rehearsed(database: Database, connection: Connection, plan: Plan, oid: int) -> str | None:
    """Why it cannot be; nothing is left of the rehearsal."""
    plain, copied = seen_from_copy(plan.pairs)
    place = written(plan.pairs.schema, _NAME)
    with unqualified(database, connection, plain):
        [definition] = one(database, connection, _DEFINITION, (oid,))
    before = _seen(database, connection, _BY_OID, oid)
    database.execute(connection, "SAVEPOINT penstock_look")
    try:
        with unqualified(database, connection, copied):
            database.execute(connection, f"CREATE VIEW {place} AS {definition.rstrip(';')}")
        after = _seen(database, connection, _BY_NAME, place)
    except Exception as failure:  # noqa: BLE001  whatever it is, it would be so in the switch as well
        return " ".join(str(failure).split())
    finally:
        database.execute(connection, "ROLLBACK TO SAVEPOINT penstock_look")
    changed = [
        f"column {quoted(name)} would be {type_} and not {was}"
        for (name, type_), (_, was) in zip(after, before, strict=True)
        if type_ != was
    ]
    return ", ".join(changed) or None


def _seen(database: Database, connection: Connection, sql: str, what: object) -> list[tuple[str, str]]:
    with unqualified(database, connection):
        return [tuple(row) for row in rows(database, connection, sql, (what,))]
