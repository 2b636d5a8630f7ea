"""Appending and loading in the caller's own transaction, over whatever library it is of."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from penstock.store.abc import Append, Appended, Conflict, StoreBackend, StoredEvent
from penstock.store.within._callers import AsyncCaller, Caller, Steps, drive, drive_async
from penstock.store.within._finding import Bridge, found
from penstock.store.within._first import FirstUse
from penstock.store.within._same import Homes, check_dialect
from penstock.store.within._steps import appending, loading, making

__all__ = ["append_within", "load_within"]

T = TypeVar("T")

_HOMES: Final = Homes()
_FIRST_USE: Final = FirstUse()
"""Kept for the process: what is in them is found out again where it is lost."""


def append_within(
    backend: StoreBackend, within: object, append: Append
) -> list[Appended] | Conflict | Awaitable[list[Appended] | Conflict]:
    """Add events in the transaction that *within* is in: at once, or awaited where *within* belongs to asyncio.

    *within* is a session or connection of SQLAlchemy, a connection of psycopg, asyncpg, sqlite3, aiosqlite or Django,
    or the alias of one of Django's. Committing is the caller's; after a `Conflict` its transaction is as it was.
    SQLAlchemy's sessions write first what they hold back, if they autoflush. Where the library tells of the commit,
    readers are woken by it, else they find the events when they look next.

    Raises:
        UsageError: *within* is something else, in no transaction, or in another database than the store.
        MissingMigrationError: Our tables are not there; in SQLite an append makes them.
        StoreUnavailableError: SQLite's lock was not to be had, or the transaction began with reading too early.

    Other errors are the driver's own. After any of them the transaction has to be rolled back, as after one of the
    caller's own statements; not so after `UsageError`.
    """

    def bell(outcome: list[Appended] | Conflict) -> bool:
        return not isinstance(outcome, Conflict) and any(each.is_new for each in outcome)

    return _run(backend, within, lambda: appending(backend, append), rings=bell, writes=True)


def load_within(
    backend: StoreBackend, within: object, stream: str, *, after: int = 0, limit: int | None = None
) -> tuple[list[StoredEvent], int] | Awaitable[tuple[list[StoredEvent], int]]:
    """Events of one stream above version *after*, and the stream's version, as the transaction of *within* sees them.

    What the same transaction has appended is among them. Raises as `append_within`.
    """
    return _run(backend, within, lambda: loading(backend, stream, after, limit))


def _run(
    backend: StoreBackend,
    within: object,
    steps: Callable[[], Steps[T]],
    *,
    rings: Callable[[T], bool] = lambda _: False,
    writes: bool = False,
) -> T | Awaitable[T]:
    def whole(caller: Caller | AsyncCaller) -> Steps[T]:
        check_dialect(backend, caller.dialect)
        if writes:
            caller.check()
        yield from _HOMES.checking(backend, caller.dialect, caller.place)
        yield from making(backend, _FIRST_USE.making(backend, caller, writes=writes))
        outcome = yield from steps()
        if rings(outcome):
            caller.after_commit(backend.ring)
        return outcome

    def at_once(lent: object) -> T:
        caller = found(lent)
        assert isinstance(caller, Caller)
        return drive(whole(caller), caller)

    match found(within):
        case Bridge() as bridge:
            return bridge.run(at_once)
        case AsyncCaller() as caller:
            return drive_async(whole(caller), caller)
        case Caller() as caller:
            return drive(whole(caller), caller)
