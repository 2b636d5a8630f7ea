"""From one store into another, as handlers of the engine of projections: events and checkpoint in one transaction.

Event ids make it idempotent, versions are given by the target's streams, positions by the target.
"""

from dataclasses import dataclass, field

from penstock.projections._engine._checkpoints import read as read_checkpoint
from penstock.projections.abc import LIVE
from penstock.relays._choosing import carried
from penstock.relays._comparing import LastRead, check_last_read
from penstock.relays.abc import RelayPlan
from penstock.store._outcomes import accepted
from penstock.store._steps import run_steps
from penstock.store.abc import Append, Appended, NewEvent, StoreBackend, StoredEvent
from penstock.store.database import Connection

__all__ = ["CopyHandlers", "append_here"]


class CopyHandlers:
    """The handlers of a relay between stores; `Handlers`."""

    def __init__(self, plan: RelayPlan, *, source: StoreBackend, target: StoreBackend) -> None:
        self.plan = plan
        self.source = source
        self.target = target
        self.moved = 0
        """How many events were moved."""

    @property
    def names(self) -> frozenset[str] | None:
        """The events that go."""
        return None if self.plan.names is None else frozenset(self.plan.names)

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> "_Page":
        """Collect events; they are appended when the page is finished."""
        return _Page(self, connection, LastRead.read(state))

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """What was copied stays: it is passed over by its event id when it comes again."""

    def prepare(self, connection: Connection) -> None:
        """Look whether the source is still the store that was read. Raises `StoreWentBackError`."""
        checkpoint = read_checkpoint(self.target.database, connection, self.plan.name, LIVE)
        last = LastRead.read(checkpoint.state) if checkpoint is not None else None
        if last is not None:
            check_last_read(self.source, self.plan.name, last)


@dataclass
class _Page:
    """Some events on their way."""

    handlers: CopyHandlers
    connection: Connection
    state: LastRead | None
    _events: list[NewEvent] = field(default_factory=list[NewEvent])

    def handle(self, event: StoredEvent) -> None:
        """Take it along. Raises what a function of the plan raises."""
        if self.state is None or event.position > self.state.position:
            self.state = LastRead(event.position, event.id)
        if (going := carried(self.handlers.plan, event)) is not None:
            self._events.append(going)

    def finish(self) -> bytes | None:
        """Append them. Raises `ProtectedStreamError`, `DeletedStreamError`."""
        if self._events:
            target = self.handlers.target
            append_here(target, self.connection, Append(tuple(self._events)))
        return None if self.state is None else self.state.written()

    def discard(self) -> None:
        """Nothing of it is there."""
        self._events = []

    def committed(self) -> None:
        """Tell whoever reads the target."""
        if self._events:
            self.handlers.moved += len(self._events)
            self.handlers.target.ring()


def append_here(store: StoreBackend, connection: Connection, append: Append) -> list[Appended]:
    """Append in the transaction that *connection* is in. Raises what a conflict means."""
    return accepted(append, run_steps(store.database, connection, store.steps(append)))
