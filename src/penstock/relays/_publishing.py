"""From a store into streams, as handlers of the engine of projections.

A page is packed event by event, sent by the script, and noted in the store's own database with the checkpoint. The
engine runs it outside of any transaction, so that nobody waits for a lock while a server is slow.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.errors import ProjectionHaltedError
from penstock.projections._engine import _failures
from penstock.projections._engine._checkpoints import read as read_checkpoint
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE
from penstock.relays import _tokens
from penstock.relays._bridge import Bridge
from penstock.relays._comparing import check_mark
from penstock.relays._noting import has_failure
from penstock.relays._packing import Outbound, Packing
from penstock.relays._places import Places
from penstock.relays._sink import StreamSink
from penstock.relays.abc import RelayPlan
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from penstock.streams.abc import RelayMark
from penstock.telemetry import LOGGER

__all__ = ["Past", "PublishHandlers"]

_READ: Final = 1000


class PublishHandlers:
    """The handlers of a relay into streams; `Handlers`."""

    def __init__(
        self,
        plan: RelayPlan,
        *,
        source: StoreBackend,
        packing: Packing,
        sink: StreamSink,
        bridge: Bridge,
    ) -> None:
        self.plan = plan
        self.source = source
        self.packing = packing
        self.sink = sink
        self.bridge = bridge
        self.moved = 0
        """How many events were moved."""

    @property
    def names(self) -> frozenset[str] | None:
        """The events that go."""
        return None if self.plan.names is None else frozenset(self.plan.names)

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> "_Page":
        """Collect events; they are sent when the page is finished. The checkpoint is the one that the engine has."""
        database, name = self.source.database, self.plan.name
        checkpoint = read_checkpoint(database, connection, name, generation)
        relay = _tokens.token_of(database, connection, name)
        return _Page(self, relay, Places.read(state), checkpoint.position if checkpoint is not None else 0)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Begin anew: what is in streams stays there, and everything is added once more."""
        database, name = self.source.database, self.plan.name
        if delete:
            _tokens.forget(database, connection, name)
        else:
            _tokens.renew_token(database, connection, name)

    def prepare(self, connection: Connection) -> None:
        """Take a token, before anything is sent under it; what was compared is compared again."""
        self.sink.compare_anew()
        _tokens.ensure_token(self.source.database, connection, self.plan.name)


@dataclass
class _Page:
    """Some events on their way."""

    handlers: PublishHandlers
    relay: str
    places: Places
    position: int
    """The checkpoint: what lies below it comes late, having failed before, or from an event stream that was added."""

    def __post_init__(self) -> None:
        self._due: list[Outbound] = []
        self._late: list[Outbound] = []

    def handle(self, event: StoredEvent) -> None:
        """Pack it. Raises what makes it impossible to write."""
        packed = self.handlers.packing.pack(event)
        if packed is not None:
            (self._due if event.position > self.position else self._late).append(packed)

    def finish(self) -> bytes | None:
        """Send them. Raises `BrokerUnavailableError`, `StreamFullError`: all is tried again; and what `Past` raises."""
        if self._due or self._late:
            self.handlers.bridge.call(self._send)
        return self.places.written()

    async def _send(self) -> None:
        handlers = self.handlers
        for event in self._late:
            await handlers.sink.send_late(self.relay, event)
        past = Past(handlers.plan, handlers.source, handlers.packing)
        await handlers.sink.send(self.relay, self._due, self.places, past)

    def discard(self) -> None:
        """What was sent is marked, and will not be added again."""

    def committed(self) -> None:
        """There is nothing to clean up."""
        self.handlers.moved += len(self._due) + len(self._late)


class Past:
    """The store as far as the relay has come: for a server that has lost events, or has marks of another store."""

    def __init__(self, plan: RelayPlan, source: StoreBackend, packing: Packing) -> None:
        self._plan = plan
        self._source = source
        self._packing = packing

    async def read(self, after: int, through: int) -> Sequence[Outbound]:
        """The next events above *after*, up to *through*; none when there are no more.

        Raises:
            ProjectionHaltedError: One cannot be packed any more, and the policy is to stand before it.
        """
        while after < through:
            page = await self._source.read(self._plan.wanted, after=after, through=through, limit=_READ)
            packed = await asyncio.to_thread(self._pack, page.events)
            if packed or page.through <= after:
                return packed
            after = page.through
        return []

    async def check(self, mark: RelayMark) -> None:
        """Raises `StoreWentBackError` if the store has not the event that was marked."""
        await check_mark(self._source, self._plan.name, mark)

    def _pack(self, events: Sequence[StoredEvent]) -> Sequence[Outbound]:
        packed: list[Outbound] = []
        for event in events:
            try:
                found = self._packing.pack(event)
            except Exception as failure:
                # It went once, or it is among the failures; if neither holds any more, it is not to be lost now.
                if not self._is_aside(event, failure):
                    raise ProjectionHaltedError(
                        self._plan.name,
                        position=event.position,
                        event_id=event.id,
                        reason=f"it is to be added again: {failure}",
                    ) from failure
            else:
                packed += () if found is None else (found,)
        return packed

    def _is_aside(self, event: StoredEvent, failure: Exception) -> bool:
        """Whether it is among the failures; put there, if the policy is to go on."""
        database, key = self._source.database, (self._plan.name, LIVE)
        with contextlib.closing(database.connect(application="penstock relays")) as connection:
            if has_failure(database, connection, *key, event.id):
                return True
            if self._plan.on_failure not in ("skip", "park"):
                return False
            LOGGER.error("relay %r cannot add event %r again: %s", self._plan.name, event.id, failure)
            with transaction(database, connection):
                _failures.put_aside(database, connection, key, event, failure, parking=False, attempts=1)
        return True
