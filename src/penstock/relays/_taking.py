"""From a stream into a store, as handlers of the engine of projections: the events, and the place in the stream, in one
transaction of the store. Event ids make it idempotent.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from penstock.errors import PenstockError
from penstock.position import EntryId
from penstock.projections._engine import _failures
from penstock.projections.abc import LIVE
from penstock.relays._choosing import carried
from penstock.relays._copying import append_here
from penstock.relays._noting import lowest_failure
from penstock.relays._stream_source import StreamSource, TakenEvent, entry_id_at
from penstock.relays.abc import RelayPlan
from penstock.store.abc import Append, NewEvent, StoreBackend, StoredEvent
from penstock.store.database import Connection
from penstock.telemetry import LOGGER

__all__ = ["TakeHandlers"]

_SAVE_EVERY_S: Final = 1.0


class TakeHandlers:
    """The handlers of a relay out of a stream; `Handlers`."""

    def __init__(self, plan: RelayPlan, *, source: StreamSource, target: StoreBackend) -> None:
        self.plan = plan
        self.source = source
        self.target = target
        self.moved = 0
        """How many events were moved."""
        self._saved_at = 0.0

    @property
    def names(self) -> frozenset[str] | None:
        """The events that go."""
        return None if self.plan.names is None else frozenset(self.plan.names)

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> "_Page":
        """Collect events; they are appended when the page is finished."""
        return _Page(self, connection, generation)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """What was taken stays: it is passed over by its event id when it comes again."""
        if delete:
            source = self.source
            source.bridge.call(lambda: source.broker.removal.delete_relay(source.stream, self.plan.name))

    def prepare(self, connection: Connection) -> None:
        """Keep the stream from losing what is not read yet."""
        self.source.bridge.call(lambda: self._save(EntryId(0)))

    def reached(self, connection: Connection, generation: str, position: int) -> None:
        """Let the stream go of what is in the store, after a while. What failed is kept for another try."""
        now = time.monotonic()
        if now - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at = now
            held = lowest_failure(self.target.database, connection, self.plan.name, generation)
            free = position if held is None else min(position, held - 1)
            try:
                self.source.bridge.call(lambda: self._save(entry_id_at(free)))
            except PenstockError as failure:
                LOGGER.debug("relay %r could not save its place: %s", self.plan.name, failure)

    async def _save(self, entry_id: EntryId) -> None:
        source = self.source
        await asyncio.shield(source.broker.removal.save_relay(source.stream, self.plan.name, bytes(entry_id)))


@dataclass
class _Page:
    """Some events on their way."""

    handlers: TakeHandlers
    connection: Connection
    generation: str
    _events: list[NewEvent] = field(default_factory=list[NewEvent])
    _last: int = 0

    def handle(self, event: StoredEvent) -> None:
        """Take it along; what cannot be read is a failure at once, since reading it again would not help."""
        handlers = self.handlers
        self._last = event.position
        failure = event.failure if isinstance(event, TakenEvent) else None
        if failure is not None:
            key = (handlers.plan.name, self.generation)
            database = handlers.target.database
            LOGGER.error("relay %r: %s; it is with the failures", handlers.plan.name, failure)
            _failures.put_aside(database, self.connection, key, event, failure, parking=False, attempts=1)
            return
        if (going := carried(handlers.plan, event)) is not None:
            self._events.append(going)

    def finish(self) -> bytes | None:
        """Append them. Raises `ProtectedStreamError`, `DeletedStreamError`."""
        if self._events:
            append_here(self.handlers.target, self.connection, Append(tuple(self._events)))
        return None

    def discard(self) -> None:
        """Nothing of it is there."""
        self._events = []

    def committed(self) -> None:
        """Tell whoever reads the store, and the stream how far it is."""
        if self._events:
            self.handlers.moved += len(self._events)
            self.handlers.target.ring()
        self.handlers.reached(self.connection, self.generation, self._last)
