"""Inboxes: a listener's effect and the id of its event, committed in one transaction of a store's database.

An event that comes again, after a crash between the commit and the acknowledgement or from anywhere else, finds its id
there and changes nothing.
"""

import asyncio
import contextvars
import functools
import typing
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from penstock.errors import ConfigurationError
from penstock.listeners.calls import CallPlan, Dependencies, Source, plan_call, run_in_thread
from penstock.listeners.delivery import Delivery
from penstock.message import Message
from penstock.store.abc import StoredEvent
from penstock.store.database import Database
from penstock.store.work import Work, asked_types, wanted_of
from penstock.store.work.lending import Lender

__all__ = ["InboxPlan", "Inboxes", "plan_inbox"]

_MOST_REMOVED: Final = 10_000
_APPLICATION: Final = "penstock inbox"


class _Here(Executor):
    """Runs what it is given in the thread that gives it: the transaction's own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> "Future[Any]":
        """Run it now."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **options))
        except Exception as failure:  # noqa: BLE001  it is a handler of the user's
            done.set_exception(failure)
        return done


_HERE: Final = _Here()


class OpenStore(Protocol):
    """A store that is there and has been looked at."""

    @property
    def database(self) -> Database:
        """The database that it is in."""
        ...


class Inboxes:
    """The inboxes of an app: one in each store that a listener names.

    Args:
        database_of: The database of a store. Raises `UnknownStoreError`.
        open_store: Connects to a store, and looks whether it is as it has to be.
        time_us: What time it is, in microseconds since the Unix epoch.
        keep_for: How long ids are kept.
    """

    def __init__(
        self,
        *,
        database_of: Callable[[str], Database],
        open_store: Callable[[str], Awaitable[OpenStore]],
        time_us: Callable[[], int],
        keep_for: Callable[[], timedelta],
    ) -> None:
        self.database_of = database_of
        self._open_store = open_store
        self._time_us = time_us
        self._keep_for = keep_for
        self._lenders: dict[str, Lender] = {}

    async def open(self, store: str) -> Lender:
        """What lends transactions in a store. Raises `StoreUnavailableError`, `MissingMigrationError`."""
        opened = await self._open_store(store)
        lender = self._lenders.get(store)
        if lender is None or lender.database.url != opened.database.url:
            lender = self._lenders[store] = Lender(opened.database, application=_APPLICATION)
        return lender

    def note(self, work: Work, receiver: str, event_id: str) -> bool:
        """Note that *receiver* handles an event, in the transaction; False if it has done so before."""
        cursor = work.database.execute(
            work.connection,
            "INSERT INTO penstock_inbox (receiver, event_id, handled_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (receiver, event_id, self._time_us()),
        )
        return cursor.rowcount == 1

    async def clean(self, store: str) -> int:
        """Let ids go that are older than what is kept; how many that were, at most 10,000."""
        lender = await self.open(store)
        before = self._time_us() - self._keep_for() // timedelta(microseconds=1)

        def remove() -> int:
            with lender.transaction() as work:
                cursor = work.database.execute(
                    work.connection,
                    "DELETE FROM penstock_inbox WHERE (receiver, event_id) IN "
                    "(SELECT receiver, event_id FROM penstock_inbox WHERE handled_at < ? "
                    "ORDER BY handled_at LIMIT ?)",
                    (before, _MOST_REMOVED),
                )
                return cursor.rowcount

        return await asyncio.to_thread(remove)

    def close(self) -> None:
        """Close the connections that are not in use."""
        for lender in self._lenders.values():
            lender.close()


@dataclass(frozen=True, slots=True)
class InboxPlan(CallPlan):
    """How a listener with a store is called: on a thread, in a transaction with the note of its event's id."""

    store: str = "local"
    receiver: str = ""
    shared: tuple[type, ...] = field(default=())
    """The types of everything that it asks the app for."""

    async def call(
        self,
        dependencies: Dependencies,
        executor: Executor | None,
        bodies: list[Any],
        deliveries: list[Delivery],
    ) -> None:
        """Handle those of the events that were not handled before. Raises what the handler raises."""
        inboxes: Inboxes = dependencies.value_of(Inboxes)
        # What belongs to an event loop is made on this one; the handler has one of its own.
        await dependencies.make_shared(self.shared)
        lender = await inboxes.open(self.store)
        handle = functools.partial(self._handle, inboxes, lender, dependencies, bodies, deliveries)
        await run_in_thread(executor, handle)

    def _handle(
        self,
        inboxes: Inboxes,
        lender: Lender,
        dependencies: Dependencies,
        bodies: list[Any],
        deliveries: list[Delivery],
    ) -> None:
        with lender.transaction() as work:
            fresh = [
                number
                for number, delivery in enumerate(deliveries)
                if inboxes.note(work, self.receiver, delivery.message.id)
            ]
            if not fresh:
                return
            asked = asked_types(work.database.dialect)
            scope = dependencies.scope({type_: _getting(work, wanted) for type_, wanted in asked.items()})
            if self.owner is not None and not dependencies.knows(self.owner):
                scope.provide(self.owner, self.owner, shared=False)
            given = [bodies[number] for number in fresh], [deliveries[number] for number in fresh]
            with asyncio.Runner() as runner:
                runner.run(CallPlan.call(self, scope, _HERE, *given), context=contextvars.copy_context())


def plan_inbox(
    function: Callable[..., Any],
    *,
    name: str,
    group: str,
    store: str,
    dependencies: Dependencies,
    batch: bool,
    owner: type | None = None,
) -> InboxPlan:
    """How to call a listener whose effect goes into *store*.

    Raises:
        ConfigurationError: It asks for what cannot be given there.
        UnknownDependencyError: It asks for what nothing provides.
        UnknownStoreError: There is no such store.
    """
    if not dependencies.knows(Inboxes):
        raise ConfigurationError(f"listener {name!r} has store={store!r}, and there is no app to have stores")
    inboxes: Inboxes = dependencies.value_of(Inboxes)
    database = inboxes.database_of(store)
    scope = dependencies.scope(dict.fromkeys(asked_types(database.dialect), _nothing))
    if owner is not None and not scope.knows(owner):
        scope.provide(owner, owner, shared=False)
        scope.needs_of(owner, owner.__qualname__)

    def part(wanted: Any, batch: bool) -> Source | None:
        if wanted is Message:
            return "message"
        if batch and typing.get_origin(wanted) is list and typing.get_args(wanted) == (Message,):
            return "messages"
        if wanted is Delivery or typing.get_args(wanted) == (Delivery,):
            raise ConfigurationError(
                f"listener {name!r} has store={store!r} and asks for a Delivery; its message is acknowledged once the "
                "transaction is committed: ask for Message"
            )
        if wanted is StoredEvent:
            raise ConfigurationError(
                f"listener {name!r} handles events of a stream; ask for Message, not StoredEvent"
            )
        asked = wanted_of(wanted, handler=name, store=store, dialect=database.dialect)
        return None if asked is None else typing.cast(type, typing.get_origin(wanted) or wanted)

    plan = plan_call(function, name=name, dependencies=scope, batch=batch, owner=owner, part=part)
    asked = [source for _, source in plan.sources if isinstance(source, type) and dependencies.knows(source)]
    return InboxPlan(
        plan.function,
        plan.owner,
        plan.is_async,
        plan.sources,
        plan.body,
        only_body=False,
        store=store,
        receiver=f"{group}/{name}",
        shared=(*asked, *((owner,) if owner is not None else ())),
    )


def _getting(work: Work, wanted: Any) -> Callable[[], Any]:
    return lambda: work.get(wanted)


def _nothing() -> None:
    """What stands for things that are there only while a message is handled."""
