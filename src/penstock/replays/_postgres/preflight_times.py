"""How long a switch takes, who is in its way, and what it needs of the disk."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.switching_locks import limits, wait_ms
from penstock.replays._postgres.switching_numbers import read_twins
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_times"]

_HOLDERS: Final = """\
SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, ''),
       coalesce(a.backend_type, ''),
       extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8,
       pg_catalog.array_agg(DISTINCT l.relation::regclass::text ORDER BY l.relation::regclass::text)
  FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (?::bigint[]::oid[])
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 6 DESC NULLS FIRST"""
_PREPARED: Final = """\
SELECT DISTINCT p.gid FROM pg_catalog.pg_prepared_xacts AS p
  JOIN pg_catalog.pg_locks AS t ON t.locktype = 'transactionid' AND t.transactionid = p.transaction AND t.pid IS NULL
  JOIN pg_catalog.pg_locks AS l ON l.virtualtransaction = t.virtualtransaction AND l.pid IS NULL
 WHERE l.locktype = 'relation' AND l.relation = ANY (?::bigint[]::oid[]) AND p.database = pg_catalog.current_database()
 ORDER BY 1"""
_STATEMENT_MS: Final = "SELECT setting::float8 FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'"
_TRANSACTION_MS: Final = """\
SELECT name::text, setting::float8 FROM pg_catalog.pg_settings
 WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout') AND setting::float8 BETWEEN 1 AND 10000
 ORDER BY name"""
_SIZES: Final = """\
SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)) FILTER (WHERE c.relkind <> 'm'), 0)::bigint,
       coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)) FILTER (WHERE c.relkind = 'm'), 0)::bigint
  FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (?::bigint[]::oid[])"""
_LONG_SECONDS: Final = 1.0
_MS_A_STATEMENT: Final = 0.4
_MS_AT_LEAST: Final = 3.0
_SHORT_MS: Final = 60_000
_ENOUGH_MS: Final = 1000


def of_times(database: Database, connection: Connection, plan: Plan, *, is_whole: bool) -> Iterator[Finding]:
    """Others' long transactions, time-outs, and an estimate."""
    if is_whole:
        yield from _of_holders(database, connection, plan)
    [statement_ms] = one(database, connection, _STATEMENT_MS)
    if 0 < statement_ms < _SHORT_MS:
        yield Finding(
            "note",
            "statement_timeout",
            f"it is {statement_ms:,.0f} ms for this user; the switch goes by limits of its own",
        )
    for name, ms in rows(database, connection, _TRANSACTION_MS):
        yield Finding(
            "warning",
            str(name),
            f"it is {ms:,.0f} ms for this user, which may be less than the switch waits; raise it for that user",
        )
    yield from _of_disk(database, connection, plan)
    if not is_whole:
        yield Finding(
            "note", "lock", "no reader is kept waiting; rows of the part are locked until the switch commits"
        )
        return
    tables = len(plan.oids)
    estimated = _MS_AT_LEAST + _MS_A_STATEMENT * (len(plan.before) + len(plan.after) + 3 * tables)
    waiting = wait_ms(database, connection)
    yield Finding(
        "note",
        "lock",
        f"{tables} tables are locked for about {estimated:.0f} ms, whatever their size; before that they are waited "
        f"for, for {waiting} ms at a time, and so long others may have to wait too",
    )
    for each in limits(database, connection):
        if each.ms < waiting + estimated:
            who = "everybody" if each.user == "all" else f"user {each.user}"
            yield Finding(
                "warning",
                each.name,
                f"it is {each.ms:,.0f} ms for {who}, and a query that has to wait behind the switch may be broken off "
                f"by it; raise it to {_ENOUGH_MS} ms or more",
            )


def _of_holders(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    oids = [*plan.oids, *(view.oid for view in plan.views), *(key.oid for key in plan.keys)]
    twins = read_twins(database, connection, plan.pairs.schema, plan.pairs.layout)
    oids += [each.oid for each in twins if each.is_stocked]
    for pid, application, user, state, kind, seconds, names in rows(database, connection, _HOLDERS, (oids,)):
        if pid is None or (seconds or 0) < _LONG_SECONDS:
            continue
        who = application or kind or "somebody"
        if kind == "autovacuum worker":
            yield Finding(
                "note", f"pid {pid}", f"autovacuum works on {', '.join(names)}; the switch has it give way"
            )
            continue
        yield Finding(
            "warning",
            f"pid {pid}",
            f"{who} (user {user}, {state}) has had a transaction on {', '.join(names)} open for {seconds:,.0f} s; the "
            "switch waits for its end, and gives up after half a minute; have it end, or pg_terminate_backend it",
        )
    for (gid,) in rows(database, connection, _PREPARED, (oids,)):
        yield Finding(
            "refusal",
            f"prepared transaction {gid}",
            "it has locked the tables and nobody is at work on it; COMMIT PREPARED or ROLLBACK PREPARED it",
        )


def _of_disk(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    live = [each.oid for each in plan.pairs.live]
    tables, materialised = one(database, connection, _SIZES, (live,))
    filled = f"; {_size(materialised)} for materialised views that are filled before" if materialised else ""
    yield Finding(
        "note",
        "disk",
        f"the switch copies no table{filled}; the former tables keep their {_size(tables)} until the replay is removed",
    )


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"
