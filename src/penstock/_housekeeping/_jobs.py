"""What a job of housekeeping is, and what it works with."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from penstock.clock import Clock
from penstock.config import Settings, StreamSettings
from penstock.listeners.registry import Registry
from penstock.store import EventStore
from penstock.streams.abc import Lease, StreamBroker
from penstock.streams.leasing import describe_process
from penstock.streams.partitions import lane_names

__all__ = ["Job", "Keeping", "Kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream that settings declare, and the server that keeps it. `name` is a partition's, if it has some."""

    pool: str
    broker: StreamBroker
    name: str
    settings: StreamSettings


@dataclass(frozen=True, slots=True)
class Keeping:
    """One process that keeps house: the servers by pool, what is declared, and what it holds leases under."""

    settings: Settings
    pools: Mapping[str, StreamBroker]
    registry: Registry
    clock: Clock
    is_embedded: bool = False
    """Whether the default pool is a server of our own."""
    clean_inbox: Callable[[str], Awaitable[int]] | None = None
    """Removes old ids from the inbox in a store, and tells how many; ``None`` where there are no stores."""
    stores: Callable[[], Sequence[EventStore]] = tuple
    """The event stores that there are."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _held: dict[tuple[StreamBroker, str, str | None], Lease] = field(
        default_factory=dict["tuple[StreamBroker, str, str | None]", Lease]
    )

    async def streams(self) -> AsyncIterator[Kept]:
        """Every declared stream, a partitioned one as its partitions."""
        for name, declared in self.settings.stream_settings.items():
            broker = self.pools[declared.pool]
            for each in [name, *await _partitions(broker, name)]:
                yield Kept(declared.pool, broker, each, declared)

    async def acts(
        self, broker: StreamBroker, job: str, *, life: timedelta, stream: str | None = None
    ) -> bool:
        """Whether it is for us to do *job* (for this stream) now: we hold its lease, or have just got it for *life*.

        It is not renewed: who does a job comes back before the lease has ended, or leaves it to another.
        """
        given = await broker.leases.acquire(
            job, token=self.token, description=describe_process(), life=life, stream=stream
        )
        if isinstance(given, Lease):
            self._held[broker, job, stream] = given
            return True
        return False

    async def give_up(self) -> None:
        """Let others do what we did, at once. Raises `BrokerUnavailableError`."""
        while self._held:
            (broker, _, _), lease = self._held.popitem()
            await broker.leases.release(lease)


class Job(Protocol):
    """Something that has to be done again and again by somebody, whoever it is.

    A server that is away, or full, ends no job: it is tried again later.
    """

    name: str

    async def run(self, keeping: Keeping) -> timedelta:
        """Do a bounded piece of it, if nobody else does; when to come back."""
        ...


async def _partitions(broker: StreamBroker, stream: str) -> tuple[str, ...]:
    layout = await broker.partitions.layout(stream)
    return () if layout is None else lane_names(stream, layout.ever)
