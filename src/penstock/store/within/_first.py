"""The tables of a store in SQLite, for a program that appends within its own transactions and never opens the store.

They are made over a connection of ours where the caller's transaction has not begun. Where it has, it may hold the lock
that making them takes, and would not see what another connection makes: then they are made in it, and are kept or not
as the rest of it.
"""

from collections.abc import Callable
from weakref import WeakSet

from penstock.errors import MissingMigrationError
from penstock.store import migrating
from penstock.store.abc import StoreBackend
from penstock.store.within._callers import AsyncCaller, Caller, Steps

__all__ = ["FirstUse"]


class FirstUse:
    """What is known of which stores have their tables."""

    def __init__(self) -> None:
        self._have_all: WeakSet[StoreBackend] = WeakSet()
        self._made_within: WeakSet[StoreBackend] = WeakSet()
        """Made in a transaction of somebody who perhaps never committed it."""

    def making(self, backend: StoreBackend, caller: Caller | AsyncCaller, *, writes: bool) -> Steps[None]:
        """Make what is missing of the tables; for PostgreSQL that is somebody's decision.

        Raises:
            MissingMigrationError: They are missing, and the transaction has begun and does not *write*.
            OtherMigrationError: The file is of another version of penstock.
        """
        if backend.dialect != "sqlite" or backend in self._have_all:
            return
        missing = yield from migrating.looking(backend.database)
        if not missing:
            if backend not in self._made_within:
                self._have_all.add(backend)
            return
        prepare: Callable[[], None] | None = getattr(backend, "prepare", None)
        if prepare is not None and not caller.has_begun():
            yield prepare
            self._have_all.add(backend)
        elif writes:
            self._made_within.add(backend)
            for statement in migrating.statements("sqlite", missing):
                yield statement, ()
        else:
            raise MissingMigrationError(backend.name, [each.name for each in missing])
