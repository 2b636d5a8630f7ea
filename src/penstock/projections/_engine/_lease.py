"""The lease of a projection: a row that keeps several processes from doing the same work, and nothing more.

What protects the read model is the checkpoint (`_checkpoints`). A process that stood still, or whose clock jumped, may
lose the lease and not know it: its next page finds another epoch and is rolled back. The database's clock decides.
"""

import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from penstock.errors import ProjectionBusyError, StaleRunnerError
from penstock.projections._engine._holding import Holding, holding_here, is_surely_dead
from penstock.projections._engine._outcomes import NotWanted
from penstock.projections._engine._sql import NOW, lock_of, one, rows, transaction
from penstock.store.database import Connection, Database

__all__ = [
    "LeaseTerms",
    "Taken",
    "application",
    "check_ours",
    "is_alive",
    "left_us",
    "release",
    "renew",
    "shorten",
    "take",
]

_LOCK_TIMEOUT: Final = "2s"
"""How long a take-over waits for a page that somebody else still has open (PostgreSQL)."""


def _holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Who takes leases, and for how long."""

    length: timedelta = timedelta(seconds=10)
    holder: str = field(default_factory=_holder)
    """For people: host and process."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells one supervisor from all others, also from a later one of the same process."""
    work: str = ""
    """What its sessions are called after, where all leases under the token are of one piece of work: that lives as long
    as one of them. Else each has a session of its own, called after the projection."""

    @property
    def length_us(self) -> int:
        """The length in microseconds."""
        return self.length // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease that is ours."""

    deaths: int
    """How many runners in a row went away without a word while the checkpoint stood where it stands."""


def application(terms: LeaseTerms, name: str) -> str:
    """What PostgreSQL calls the session of a runner; it can be found by this when its process stands still."""
    return f"penstock {terms.token[:12]} {terms.work or name}"[:63]


def take(database: Database, connection: Connection, name: str, generation: str, terms: LeaseTerms) -> Taken:
    """Take the lease, also from one that let it run out or is surely dead; the checkpoint's epoch then goes up.

    Inside no transaction. Raises `ProjectionBusyError` when another has it, `StaleRunnerError` when its row was removed
    at this moment.
    """
    key = (name, generation)
    with transaction(database, connection):
        database.execute(
            connection,
            "INSERT INTO penstock_projections (projection, generation) VALUES (?, ?) ON CONFLICT DO NOTHING",
            key,
        )
        shorten(database, connection, key)
    with transaction(database, connection):
        former = _check_free(database, connection, key, terms)
        if former is not None and former.application and database.dialect == "postgresql":
            _end_session(database, connection, former.application)
        ours = holding_here(database, connection, application(terms, name), terms.length_us)
        if database.dialect == "postgresql":
            database.execute(connection, f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        # The checkpoint first, as in a page, so that the two never wait for each other in a circle.
        place = one(
            database,
            connection,
            "SELECT position FROM penstock_checkpoints "
            f"WHERE projection = ? AND generation = ?{lock_of(database)}",
            key,
        )
        _check_free(database, connection, key, terms, lock=True)
        position = place[0] if place is not None else 0
        [deaths] = one(
            database,
            connection,
            "UPDATE penstock_projections SET "
            "deaths = CASE WHEN token IS NULL OR token = ? THEN deaths WHEN died_at = ? THEN deaths + 1 ELSE 1 END, "
            "died_at = CASE WHEN token IS NULL OR token = ? THEN died_at ELSE ? END, "
            f"holder = ?, token = ?, lease_until = {NOW[database.dialect]} + ?, session = ? "
            "WHERE projection = ? AND generation = ? RETURNING CASE WHEN died_at = ? THEN deaths ELSE 0 END",
            (terms.token, position, terms.token, position)
            + (terms.holder, terms.token, terms.length_us, str(ours), *key, position),
        )
        database.execute(
            connection,
            "UPDATE penstock_checkpoints SET epoch = epoch + 1 WHERE projection = ? AND generation = ?",
            key,
        )
    return Taken(deaths)


def _check_free(
    database: Database,
    connection: Connection,
    key: tuple[str, str],
    terms: LeaseTerms,
    *,
    lock: bool = False,
) -> Holding | None:
    """What is noted of one who let the lease run out or is dead, if there is one. Raises as `take`."""
    row = one(
        database,
        connection,
        f"SELECT holder, token, lease_until - {NOW[database.dialect]}, session FROM penstock_projections "
        f"WHERE projection = ? AND generation = ?{lock_of(database) if lock else ''}",
        key,
    )
    if row is None:
        raise StaleRunnerError(key[0])
    holder, token, remaining, session = row
    if token is None or token == terms.token:
        return None
    holding = Holding.read(session)
    if left_us(database, connection, holding, remaining) > 0:
        raise ProjectionBusyError(key[0], holder, remaining=timedelta(microseconds=remaining))
    return holding


def check_ours(
    database: Database, connection: Connection, key: tuple[str, str], terms: LeaseTerms, *, heeds: bool
) -> None:
    """See that the lease is ours for the rest of the transaction, in which the checkpoint is locked already.

    *heeds*: also that nothing was asked for which has to be done first. Without this, who was slow to begin would bring
    back what was deleted meanwhile. Raises `StaleRunnerError`, `NotWanted`.
    """
    row = one(
        database,
        connection,
        "SELECT token, wanted, request FROM penstock_projections "
        f"WHERE projection = ? AND generation = ?{lock_of(database)}",
        key,
    )
    if row is None or row[0] != terms.token:
        raise StaleRunnerError(key[0])
    if heeds and (row[1] == "stop" or row[2]):
        raise NotWanted


def left_us(database: Database, connection: Connection, holding: Holding, remaining_us: int) -> int:
    """How long a lease of another has to be waited for: until it ends, or not at all when its holder is surely dead."""
    if remaining_us <= 0 or is_surely_dead(database, connection, holding):
        return 0
    return remaining_us


def shorten(database: Database, connection: Connection, key: tuple[str, str]) -> int:
    """Let a lease end at most its own length from now; how long it lasts. Inside a transaction.

    One that ends later was renewed before the database's clock went back. A holder that lives renews it all the same.
    """
    row = one(
        database,
        connection,
        f"SELECT token, session, lease_until - {NOW[database.dialect]} FROM penstock_projections "
        "WHERE projection = ? AND generation = ?",
        key,
    )
    if row is None or row[0] is None:
        return 0
    token, session, remaining = row
    length = Holding.read(session).length_us
    if length == 0 or remaining <= length:
        return int(remaining)
    database.execute(
        connection,
        f"UPDATE penstock_projections SET lease_until = {NOW[database.dialect]} + ? "
        "WHERE projection = ? AND generation = ? AND token = ?",
        (length, *key, token),
    )
    return length


def _end_session(database: Database, connection: Connection, session: str) -> None:
    """End a transaction that a runner left open when its process stopped: its locks would keep everyone waiting.

    Only a session with that runner's own name is ended, and only while it does nothing and holds a checkpoint.
    """
    database.execute(
        connection,
        "SELECT pg_terminate_backend(a.pid, 1000) FROM pg_stat_activity a "
        "WHERE a.datname = current_database() AND a.application_name = ? AND a.state = 'idle in transaction' "
        "AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.mode = 'RowShareLock' "
        "AND l.relation = 'penstock_checkpoints'::regclass)",
        (session,),
    ).fetchall()


def renew(database: Database, connection: Connection, terms: LeaseTerms) -> set[tuple[str, str]]:
    """Renew all leases under this token; those that are (names with generations). Others have been taken over."""
    with transaction(database, connection):
        found = rows(
            database,
            connection,
            f"UPDATE penstock_projections SET lease_until = {NOW[database.dialect]} + ? WHERE token = ? "
            "RETURNING projection, generation",
            (terms.length_us, terms.token),
        )
    return {(name, generation) for name, generation in found}


def release(
    database: Database, connection: Connection, keys: Sequence[tuple[str, str]], terms: LeaseTerms
) -> None:
    """Give leases back, as far as they are ours."""
    with transaction(database, connection):
        for name, generation in keys:
            database.execute(
                connection,
                "UPDATE penstock_projections SET holder = NULL, token = NULL, lease_until = 0, session = NULL, "
                "deaths = 0 WHERE projection = ? AND generation = ? AND token = ?",
                (name, generation, terms.token),
            )


def is_alive(database: Database, connection: Connection, name: str, generation: str) -> bool:
    """Whether somebody runs it at this moment."""
    row = one(
        database,
        connection,
        f"SELECT session, lease_until - {NOW[database.dialect]} FROM penstock_projections "
        "WHERE projection = ? AND generation = ? AND token IS NOT NULL",
        (name, generation),
    )
    return row is not None and left_us(database, connection, Holding.read(row[0]), row[1]) > 0
