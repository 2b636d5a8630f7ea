"""How far a store can be read: three statements, each in a transaction of its own, in this order.

1. The last position handed out, which is the ceiling.
2. The floors of all who hold the appenders' lock: whoever was open then draws above its floor only.
3. Events up to the lower of the two. Whoever was not open at 2 is visible by now, or was rolled back, for locks are
   given back after a commit has become visible; whoever begins later draws above the ceiling.

See docs/explanation/order-without-gaps.md.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.errors import StoreRefusedError
from penstock.store._postgres.line import Row
from penstock.store.abc import HeadHolder, Horizon

__all__ = ["CEILING", "FLOORS", "ceiling_of", "horizon_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CEILING: Final = """\
SELECT coalesce(pg_sequence_last_value('penstock_positions'::regclass), 0), pg_is_in_recovery()"""

FLOORS: Final = """\
WITH locks AS MATERIALIZED (
  SELECT * FROM pg_catalog.pg_locks WHERE locktype = 'advisory' OR (locktype = 'transactionid' AND pid IS NULL)
), held AS (
  SELECT ((classid::bigint & 65535) << 32) | objid::bigint AS floor, pid, virtualtransaction
    FROM locks
   WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1
     AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
     AND classid::bigint >> 16 = penstock_store_number()
), prepared AS (
  -- What is prepared has no process; it is found by the lock that each transaction has on its own number.
  SELECT locks.virtualtransaction, facts.gid, facts.owner, facts.prepared
    FROM locks JOIN pg_catalog.pg_prepared_xacts AS facts ON facts.transaction = locks.transactionid
   WHERE locks.locktype = 'transactionid' AND EXISTS (SELECT FROM held WHERE held.pid IS NULL)
)
SELECT held.floor, held.pid, coalesce(who.usename, prepared.owner)::text, coalesce(who.application_name, ''),
       CASE WHEN held.pid IS NULL THEN 'prepared' ELSE coalesce(who.state, '') END,
       (date_part('epoch', coalesce(who.xact_start, prepared.prepared)) * 1000000)::bigint, prepared.gid
  FROM held
  LEFT JOIN pg_catalog.pg_stat_activity AS who ON who.pid = held.pid
  LEFT JOIN prepared ON held.pid IS NULL AND prepared.virtualtransaction = held.virtualtransaction
 ORDER BY held.floor, held.pid"""


def ceiling_of(row: Row, shown: str) -> int:
    """The last position handed out. Raises `StoreRefusedError` on a server that only follows another."""
    last, follows = row
    if follows:
        raise StoreRefusedError(
            f"the database {shown} is a hot standby: it shows what was committed, and not who still may commit, "
            "so that events could be skipped; name the primary"
        )
    return int(last)


def horizon_of(ceiling: int, floors: Sequence[Row], *, reached: int) -> Horizon:
    """How far it is safe to read, and who holds it there; never behind *reached*, how far it was before.

    Who was slow between asking for his floor and locking it has a floor below what others could read meanwhile. He
    draws above it all the same, for he draws later. Only where the store itself is behind *reached* it was put back.
    """
    holders = tuple(_holder(row) for row in floors if row[0] < ceiling)
    position = min([ceiling, *(holder.floor for holder in holders)])
    return Horizon(reached if position < reached <= ceiling else position, ceiling, holders)


def _holder(row: Row) -> HeadHolder:
    floor, pid, role, application, state, since_us, gid = row
    since = None if since_us is None else _EPOCH + timedelta(microseconds=since_us)
    return HeadHolder(floor, pid, role or "", application, state, since, gid)
