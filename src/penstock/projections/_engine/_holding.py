"""What a lease tells of its holder, so that another can be certain of its death and need not wait for its end.

Certain is only this: the process was on this host and is gone, or the session that it handles its pages in is gone from
the server. Whoever is not certain waits.
"""

from typing import Any

import msgspec

from penstock.listeners._names import Process
from penstock.projections._engine._sql import one
from penstock.store.database import Connection, Database

__all__ = ["Holding", "holding_here", "is_surely_dead"]


class Holding(msgspec.Struct, frozen=True):
    """The holder of a lease, as it is noted with it."""

    application: str = ""
    """What PostgreSQL calls its session."""
    length_us: int = 0
    """The lease ends at most so long after it was renewed."""
    process: Process | None = None
    direct: bool = False
    """Whether its session is the server's own, and is seen there by its name: no pooler is between them."""

    @classmethod
    def read(cls, text: str | None) -> "Holding":
        """What was noted; nothing, if it cannot be read."""
        try:
            return msgspec.json.decode(text or "{}", type=cls)
        except msgspec.DecodeError:
            return cls()

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def holding_here(database: Database, connection: Connection, application: str, length_us: int) -> Holding:
    """What to note of this process and of *connection*, which it handles its pages over."""
    direct = database.dialect == "postgresql" and _is_direct(database, connection, application)
    return Holding(application, length_us, Process.this(), direct)


def _is_direct(database: Database, connection: Connection, application: str) -> bool:
    """Whether the server itself told the driver its process; poolers tell a number of their own."""
    info: Any = getattr(connection, "info", None)
    [pid, seen] = one(
        database,
        connection,
        "SELECT pg_backend_pid(), EXISTS (SELECT 1 FROM pg_stat_activity "
        "WHERE pid = pg_backend_pid() AND application_name = ?)",
        (application,),
    )
    return bool(seen) and info is not None and info.backend_pid == pid


def is_surely_dead(database: Database, connection: Connection, holding: Holding) -> bool:
    """Whether who noted this can commit nothing any more."""
    if holding.process is not None and holding.process.is_surely_dead():
        return True
    if not holding.direct or database.dialect != "postgresql":
        return False
    row = one(
        database,
        connection,
        "SELECT 1 FROM pg_stat_activity WHERE application_name = ? LIMIT 1",
        (holding.application,),
    )
    return row is None
