"""What is looked at before a switch on PostgreSQL: what is carried over, what stands in the way, what to know.

Whatever hangs on a live table is either carried over by the switch, and noted here, or refused by its name.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.errors import ReplayError
from penstock.projections._engine._sql import transaction
from penstock.replays._connecting import connected
from penstock.replays._postgres.layout import read_layout
from penstock.replays._postgres.preflight_dependents import of_dependents
from penstock.replays._postgres.preflight_numbers import of_numbers
from penstock.replays._postgres.preflight_part import of_part
from penstock.replays._postgres.preflight_policies import of_policies
from penstock.replays._postgres.preflight_rights import of_rights
from penstock.replays._postgres.preflight_shapes import of_shapes
from penstock.replays._postgres.preflight_times import of_times
from penstock.replays._postgres.preflight_views import of_views
from penstock.replays._postgres.switching_plan import read_plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

if TYPE_CHECKING:
    from penstock.replays._postgres.copy import PostgresCopy

__all__ = ["preflight"]


def preflight(copy: "PostgresCopy") -> list[Finding]:
    """Everything about a switch of this copy. Nothing is changed, and nothing of others is locked but for reading."""
    database = copy.live_database
    with connected(database) as connection:
        if read_layout(database, connection, copy.where, copy.key) is None:
            return [Finding("refusal", "copy", "there is none; create it")]
        found = list[Finding]()
        try:
            with transaction(database, connection):
                found.extend(_findings(database, connection, copy))
                raise _DoneError
        except _DoneError:
            return sorted(found, key=lambda each: ("refusal", "warning", "note").index(each.severity))
        except ReplayError as failure:
            return [Finding("refusal", "copy", str(failure))]


class _DoneError(Exception):
    """What was tried out is taken back."""


def _findings(database: Database, connection: Connection, copy: "PostgresCopy") -> Iterator[Finding]:
    plan = read_plan(database, connection, copy.where, copy.key)
    if not copy.part.is_whole:
        yield from of_part(database, connection, plan, copy)
        yield from of_times(database, connection, plan, is_whole=False)
        return
    yield from of_dependents(database, connection, plan)
    yield from of_shapes(database, connection, plan, copy.projections)
    yield from of_numbers(database, connection, plan)
    yield from of_views(database, connection, plan)
    yield from of_policies(database, connection, plan)
    yield from of_rights(database, connection, plan)
    yield from of_times(database, connection, plan, is_whole=True)
