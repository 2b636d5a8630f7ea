"""What is done for a relay beside moving events: looking after a server that may have lost some, saying in the source
store how far it is, and letting go of what was relayed. Whoever runs relays does it; twice does no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from penstock.clock import Clock
from penstock.errors import PenstockError, ProjectionHaltedError, StoreWentBackError
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import Checkpoint
from penstock.relays import _tokens
from penstock.relays._letting_go import let_go
from penstock.relays._noting import reading
from penstock.relays._places import Places
from penstock.relays._publishing import Past, PublishHandlers
from penstock.relays.abc import RelayPlan
from penstock.store.abc import StoreBackend
from penstock.telemetry import LOGGER

__all__ = ["Kept", "Upkeep"]

_EVERY: Final = timedelta(seconds=5)
_LET_GO_EVERY: Final = 12


@dataclass(frozen=True, slots=True)
class Kept:
    """A relay out of a store that is looked after."""

    plan: RelayPlan
    source: StoreBackend
    checkpoints: StoreBackend
    """The store in whose database its checkpoint is."""
    handlers: PublishHandlers | None = None
    """Of a relay into streams."""


class Upkeep:
    """Looks after relays until cancelled. *needed_after*: how far other readers of a store have come."""

    def __init__(
        self,
        relays: Sequence[Kept],
        *,
        clock: Clock,
        needed_after: Callable[[str], Awaitable[int | None]],
    ) -> None:
        self._relays = relays
        self._clock = clock
        self._needed_after = needed_after

    async def run(self) -> None:
        """Look every few seconds; what fails is tried again at the next look."""
        turn = 0
        while True:
            await self.look_once(lets_go=turn % _LET_GO_EVERY == 0)
            turn += 1
            await self._clock.sleep(_EVERY)

    async def look_once(self, *, lets_go: bool = True) -> None:
        """Look after all of them; what cannot be done now is left for the next time."""
        for each in self._relays:
            try:
                await self.look(each, lets_go=lets_go)
            except (ProjectionHaltedError, StoreWentBackError) as failure:
                LOGGER.error("relay %r stands: %s", each.plan.name, failure)
            except PenstockError as failure:
                LOGGER.debug("relay %r could not be looked after: %s", each.plan.name, failure)
            except Exception:  # noqa: BLE001  what a driver raises must not end what looks after the others
                LOGGER.exception("relay %r could not be looked after", each.plan.name)

    async def look(self, relay: Kept, *, lets_go: bool = True) -> None:
        """Look after one relay."""
        for store in (relay.source, relay.checkpoints):
            await store.open()
        found = await asyncio.to_thread(_note, relay)
        if found is None:
            return
        checkpoint, free, token = found
        if relay.handlers is not None and checkpoint.state is not None:
            await relay.handlers.sink.verify(
                token,
                Places.read(checkpoint.state),
                through=checkpoint.position,
                past=Past(relay.plan, relay.source, relay.handlers.packing),
            )
        if lets_go and relay.plan.keep is not None:
            needed = await self._needed_after(relay.plan.source)
            through = free if needed is None else min(free, needed)
            await let_go(relay.source, relay.plan, through=through, now_us=self._clock.time_us)


def _note(relay: Kept) -> tuple[Checkpoint, int, str] | None:
    """The checkpoint, how far the source may forget, and the name of the relay's marks; the second noted there."""
    name, database, source = relay.plan.name, relay.checkpoints.database, relay.source.database
    connection = database.connect(application="penstock relays")
    try:
        checkpoint, free = reading(database, connection, name)
    finally:
        connection.close()
    connection = source.connect(application="penstock relays")
    try:
        with transaction(source, connection):
            _tokens.ensure_token(source, connection, name)
            _tokens.note_position(source, connection, name, free)
            token = _tokens.token_of(source, connection, name)
    finally:
        connection.close()
    return None if checkpoint is None else (checkpoint, free, token)
