"""Locks on tables that others use: waited for shortly, then given up, and tried again after a pause.

Who waits for a strong lock stands in front of everybody who comes later, readers too. So nobody waits here for longer
than a tenth of a second, which is also less than the server takes to look for a deadlock.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from penstock.errors import ReplayBusyError, StoreUnavailableError
from penstock.projections._engine._sql import transaction
from penstock.store.database import Connection, Database

__all__ = ["is_in_the_way", "patiently"]

T = TypeVar("T")

_LOCK_MS: Final = 100
_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_LOCKED: Final = frozenset({"55P03", "40P01"})
"""SQLSTATEs of a lock that was not had (appendix A of PostgreSQL's manual)."""


def is_in_the_way(failure: BaseException) -> bool:
    """Whether a lock was not had in time, or given up for another's sake."""
    return getattr(failure.__cause__, "sqlstate", None) in _LOCKED


def patiently(
    database: Database,
    connection: Connection,
    act: Callable[[], T],
    *,
    key: str,
    step: str,
    seconds: float = 30.0,
) -> T:
    """What *act* returns, in a transaction of its own that waits for no lock longer than a tenth of a second.

    Raises `ReplayBusyError` when that came to nothing for so long; nothing was changed then.
    """
    ends, pause = time.monotonic() + seconds, _SHORTEST_PAUSE
    while True:
        try:
            with transaction(database, connection):
                database.execute(connection, f"SET LOCAL lock_timeout = '{_LOCK_MS}ms'")
                return act()
        except StoreUnavailableError as failure:
            if not is_in_the_way(failure):
                raise
            if time.monotonic() >= ends:
                raise ReplayBusyError(
                    key, step=step, reason="others use its tables all the time"
                ) from failure
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, _LONGEST_PAUSE)
