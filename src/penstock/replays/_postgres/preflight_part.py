"""What is looked at before the rows of a partial replay change places."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.preflight_dependents import of_inheritance
from penstock.replays._postgres.switching_part import keys_of, read_part_tables
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

if TYPE_CHECKING:
    from penstock.replays._postgres.copy import PostgresCopy

__all__ = ["of_part"]

_TEMPORARY: Final = """\
SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'), current_user::text"""
_CHECKPOINTS: Final = """\
SELECT l.projection, l.version, c.version, l.state IS NOT NULL OR c.state IS NOT NULL
  FROM penstock_checkpoints AS l JOIN penstock_checkpoints AS c USING (projection)
 WHERE l.generation = '' AND c.generation = ? AND l.projection = ANY (?::text[]) ORDER BY 1"""


def of_part(
    database: Database, connection: Connection, plan: Plan, copy: "PostgresCopy"
) -> Iterator[Finding]:
    """Whether every table says whose its rows are, and both generations fit each other."""
    part = copy.part
    if not keys_of(part):
        yield Finding(
            "refusal",
            "part",
            "a copy that begins in the middle of history and is not of certain keys cannot take the place of anything; "
            "compare it, or replay all",
        )
        return
    if part.after:
        yield Finding(
            "refusal",
            "part",
            f"its rows were made from events after position {part.after} only, and would replace rows made from all",
            can_be_forced=True,
        )
    yield from of_inheritance(database, connection, plan)
    may_make, user = one(database, connection, _TEMPORARY)
    if not may_make:
        yield Finding(
            "refusal",
            "database",
            f"user {user} may not create temporary tables in it; GRANT TEMPORARY ON DATABASE",
        )
    for pair in plan.pairs.relations:
        table = pair.live or pair.copy
        if table is None or not table.is_table:
            continue
        if pair.live is None or pair.copy is None:
            yield Finding("refusal", pair.shown, "it is not in both generations; replay all of it")
        elif pair.name not in part.rows:
            yield Finding(
                "refusal",
                pair.shown,
                "it is not said by which column its rows belong to a key; create the replay with "
                f"--rows {pair.name}=COLUMN (in Python rows=)",
            )
    for each in read_part_tables(database, connection, plan.pairs, part):
        for reason in each.reasons():
            yield Finding("refusal", each.pair.shown, reason)
    for name, live, copied, has_state in rows(
        database, connection, _CHECKPOINTS, (copy.key, list(copy.projections))
    ):
        if live != copied:
            yield Finding(
                "refusal",
                f"projection {name}",
                f"version {live} is live and the copy is of version {copied}; rows of both in one table would not fit "
                "together: replay all of it",
            )
        if has_state:
            yield Finding(
                "refusal",
                f"projection {name}",
                "it keeps a state beside its tables, which has no parts; replay all",
            )
    targets = {pair.live.oid for pair in plan.pairs.full if pair.live is not None}
    for key in plan.keys:
        if key.target in targets and key.on_delete in "cnd":
            yield Finding(
                "refusal",
                key.shown,
                "a row that is no longer in the part is deleted, and that would change rows of this table",
                can_be_forced=True,
            )
