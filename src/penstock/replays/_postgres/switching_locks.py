"""The locks of a switch: short waits, all in one order, and given up together.

Who waits for an exclusive lock stands in front of everybody who comes later, so he waits for less time than the server
takes to look for a deadlock (``deadlock_timeout``): of two that wait for each other it is never a reader that is broken
off. Views come first, as readers of a view lock it before its tables.
"""

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from penstock.errors import StoreUnavailableError
from penstock.projections._engine._sql import one, rows, transaction
from penstock.replays._connecting import connected
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.switching_pairs import Relation, read_pairs
from penstock.replays._postgres.switching_plan import Plan
from penstock.store.database import Connection, Database

if TYPE_CHECKING:
    from penstock.replays._postgres.copy import PostgresCopy

__all__ = [
    "ChangedMeanwhileError",
    "Limit",
    "be_brief",
    "is_lock_missed",
    "limits",
    "lock_all",
    "shoo_vacuum",
    "wait_ms",
]

_LONGEST_MS: Final = 100
_DEADLOCK_MS: Final = "SELECT setting::float8 FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'"
_LIMITS: Final = """\
SELECT pg_catalog.split_part(one, '=', 1), coalesce(pg_catalog.pg_get_userbyid(nullif(s.setrole, 0))::text, 'all'),
       CASE WHEN value ~ '^[0-9.]+$' THEN value::float8 ELSE extract(epoch FROM value::interval) * 1000 END AS ms
  FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL unnest(s.setconfig) AS one
 CROSS JOIN LATERAL pg_catalog.btrim(pg_catalog.substr(one, pg_catalog.strpos(one, '=') + 1)) AS value
 WHERE pg_catalog.split_part(one, '=', 1) IN ('lock_timeout', 'statement_timeout')
   AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
UNION ALL
SELECT name::text, 'all', reset_val::float8
  FROM pg_catalog.pg_settings WHERE name IN ('lock_timeout', 'statement_timeout')
 ORDER BY 3, 1, 2"""
_MISSED: Final = frozenset({"55P03", "40P01", "57014"})
"""SQLSTATEs of a lock that was not had, and of a statement that took too long (appendix A of PostgreSQL's manual)."""
_COLLISIONS: Final = ("tuple concurrently updated", "tuple concurrently deleted")
"""What the server says where two change one row of its catalog (``heapam.c``); it has no SQLSTATE of its own, and is
never translated."""
_OWNER: Final = (
    "SELECT pg_catalog.pg_get_userbyid(relowner)::text FROM pg_catalog.pg_class WHERE oid = ?::bigint::oid"
)
_VACUUM_MS: Final = 500
"""More than ``deadlock_timeout``, so long is waited for an autovacuum, which then is ended by the server."""


class ChangedMeanwhileError(StoreUnavailableError):
    """Somebody has changed a table, or something on it, after it was looked at."""

    def __init__(self) -> None:
        super().__init__("a table, or something on it, was changed meanwhile")


def is_lock_missed(failure: BaseException) -> bool:
    """Whether trying again is what is to be done."""
    if isinstance(failure, ChangedMeanwhileError):
        return True
    if getattr(failure, "sqlstate", None) == "XX000":
        return any(each in str(failure) for each in _COLLISIONS)
    return getattr(failure.__cause__, "sqlstate", None) in _MISSED


@dataclass(frozen=True, slots=True)
class Limit:
    """After what time others are broken off, as far as it is set for users or for the database."""

    name: str
    user: str
    """``all`` for everybody."""
    ms: float


def limits(database: Database, connection: Connection) -> list[Limit]:
    """Those that there are, the shortest first. What a session sets for itself is not seen."""
    return [*dict.fromkeys(Limit(*row) for row in rows(database, connection, _LIMITS) if row[2] > 0)]


def wait_ms(database: Database, connection: Connection) -> int:
    """How long all locks together are waited for: under half of the server's ``deadlock_timeout``.

    Also under half of the time after which a reader who has to wait behind us is broken off.
    """
    [deadlock_ms] = one(database, connection, _DEADLOCK_MS)
    shortest = min([deadlock_ms, *(each.ms for each in limits(database, connection))])
    return max(1, min(_LONGEST_MS, int(shortest * 0.49)))


def be_brief(database: Database, connection: Connection) -> None:
    """Wait for no lock for longer than that, until the transaction ends, whatever the user's own limits are."""
    _bound(database, connection, lock_ms=wait_ms(database, connection), statement_ms=0)


def lock_all(database: Database, connection: Connection, plan: Plan) -> float:
    """Lock everything that a plan changes, to the end of the transaction; when that began.

    Raises `StoreUnavailableError` for a lock that was not had in time (`is_lock_missed`).
    """
    limit_ms = wait_ms(database, connection)
    left_ms = float(limit_ms)
    statements = [*plan.locks]
    tables = {**plan.tables}
    for each in (*plan.pairs.live, *plan.pairs.copied):
        if each.is_table:
            tables[each.oid] = each.written
        else:
            statements.append(_materialised(database, connection, each))
    places = ", ".join(tables[oid] for oid in sorted(tables))
    if places:
        statements.append(f"LOCK TABLE {places} IN ACCESS EXCLUSIVE MODE")
    first = began = time.monotonic()
    for sql in statements:
        # One lock of several may wait as long as all: the other setting bounds the sum.
        _bound(database, connection, lock_ms=max(1, int(left_ms)), statement_ms=max(1, int(left_ms)))
        database.execute(connection, sql)
        ended = time.monotonic()
        left_ms, began = left_ms - (ended - began) * 1000, ended
    _bound(database, connection, lock_ms=limit_ms, statement_ms=0)
    return first


def _materialised(database: Database, connection: Connection, view: Relation) -> str:
    """Changes nothing, and locks it; ``LOCK TABLE`` is for tables and views."""
    [owner] = one(database, connection, _OWNER, (view.oid,))
    return f"ALTER MATERIALIZED VIEW {view.written} OWNER TO {quoted(owner)}"


def _bound(database: Database, connection: Connection, *, lock_ms: int, statement_ms: int) -> None:
    database.execute(
        connection,
        "SELECT pg_catalog.set_config('lock_timeout', ?, true), pg_catalog.set_config('statement_timeout', ?, true)",
        (f"{lock_ms}ms", f"{statement_ms}ms"),
    ).fetchall()


def shoo_vacuum(copy: "PostgresCopy") -> None:
    """Have the server end autovacuums of the tables, which give way only to those who wait long enough.

    The lock for that lets readers and writers go on. What cannot be had is done without.
    """
    database = copy.live_database
    with connected(database) as connection:
        pairs = read_pairs(database, connection, copy.where, copy.key)
        [deadlock_ms] = one(database, connection, _DEADLOCK_MS)
        for each in sorted((*pairs.live, *pairs.copied), key=lambda each: each.oid):
            if not each.is_table:
                continue
            with contextlib.suppress(StoreUnavailableError), transaction(database, connection):
                database.execute(connection, f"SET LOCAL lock_timeout = '{int(deadlock_ms) + _VACUUM_MS}ms'")
                database.execute(
                    connection,
                    f"LOCK TABLE {written(each.schema, each.name)} IN SHARE UPDATE EXCLUSIVE MODE",
                )
