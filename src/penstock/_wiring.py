"""From settings to servers: which backend each pool has, and which pool each stream is in.

Backends are imported here, when a pool needs one: importing penstock loads no driver.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.clock import Clock
from penstock.config import Settings, StreamSettings
from penstock.errors import UnregisteredGroupError, UnregisteredStreamError
from penstock.streams.abc import Cap, StreamBroker
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import declared_of
from penstock.telemetry import Observer, guarded

if TYPE_CHECKING:
    from penstock.streams.embedded import ServerUse
    from penstock.streams.memory import MemoryServer
    from penstock.streams.publisher import Publisher

__all__ = ["Brokers", "Link", "Links"]

_DEFAULT_POOL = "default"
_MOST_NAMES = 10_000


class Brokers:
    """The servers of one app: opened together when first needed, closed together."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: object = None,
        broker: StreamBroker | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
        memory: dict[str, "MemoryServer"] | None = None,
    ) -> None:
        self._settings = settings
        self._client: Any = client
        self._observer = guarded(observer)
        self._clock = clock
        self._given = broker
        self._memory = memory if memory is not None else {}
        self._pools: dict[str, StreamBroker] = {}
        self._caps = {
            name: Cap(declared.max_entries, declared.max_age, declared.remove_needed)
            for name, declared in settings.stream_settings.items()
            if declared.max_entries is not None or declared.max_age is not None
        }
        self._partitions = settings.partitions
        self._declared: dict[str, StreamSettings | None] = {**settings.stream_settings}
        self.partitioned = (
            Partitioned(
                self._partitions,
                self.broker_for,
                clock=clock,
                routed_into_themselves={
                    name for name, each in settings.stream_settings.items() if each.routed_from == name
                },
            )
            if self._partitions
            else None
        )
        """The streams that are declared with partitions, if there are any."""
        self._use: ServerUse | None = None
        self._opening = asyncio.Lock()
        self._preparing = asyncio.Lock()
        self.is_open = False
        self.is_registered = False
        """Whether the servers were told of the declared groups."""

    # -- which server -------------------------------------------------------------------------------------------

    def broker_for(self, stream: str) -> StreamBroker:
        """The server that keeps *stream*. Raises `UnregisteredStreamError` in strict mode."""
        declared = self.declared(stream)
        if declared is None:
            if self._settings.strict:
                raise UnregisteredStreamError(
                    stream, nearest=_nearest(stream, self._settings.stream_settings)
                )
            return self._pools[_DEFAULT_POOL]
        return self._pools[declared.pool]

    def declared(self, stream: str) -> StreamSettings | None:
        """What the settings say of *stream*: what they say of the whole is said of its partitions and shards, too."""
        try:
            return self._declared[stream]
        except KeyError:
            found = declared_of(stream, self._settings.stream_settings, self._partitions)
            if len(self._declared) < _MOST_NAMES:
                self._declared[stream] = found
            return found

    async def lanes_of(self, stream: str) -> tuple[str, ...]:
        """The streams to read for *stream*: itself, or all that it has and had as partitions.

        Raises:
            PartitionCountError: The settings say another number of partitions than the stream has.
        """
        return (stream,) if self.partitioned is None else await self.partitioned.lanes(stream)

    def is_partitioned(self, stream: str) -> bool:
        """Whether *stream* is declared with partitions."""
        return self.partitioned is not None and self.partitioned.count_of(stream) is not None

    def check_group(self, group: str, stream: str) -> None:
        """Raises `UnregisteredGroupError` for a group that is not among those declared for the stream.

        In strict mode also `UnregisteredStreamError`, for a stream that is declared nowhere.
        """
        self.broker_for(stream)
        declared = self.declared(stream)
        if declared is not None and declared.groups is not None and group not in declared.groups:
            raise UnregisteredGroupError(group, stream, nearest=_nearest(group, declared.groups))

    def pool_of(self, stream: str) -> str:
        """The name of the pool that *stream* is in."""
        declared = self.declared(stream)
        return declared.pool if declared is not None else _DEFAULT_POOL

    def cap_for(self, stream: str) -> Cap | None:
        """How large *stream* may grow, if its settings say so; a partition, and a shard, each by itself."""
        return declared_of(stream, self._caps, self._partitions) if self._caps else None

    @property
    def pools(self) -> dict[str, StreamBroker]:
        """Every server by the name of its pool."""
        return dict(self._pools)

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect to every pool. Idempotent. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        if self.is_open:
            return
        async with self._opening:
            if self.is_open:
                return
            await self.prepare()
            for broker in self._pools.values():
                await broker.open()
            self.is_open = True

    async def prepare(self) -> None:
        """Make the brokers without connecting; starts the embedded server if it is to be used."""
        async with self._preparing:
            if self._pools:
                return
            pools = {_DEFAULT_POOL: await self._default_pool()}
            for name, pool in self._settings.pools.items():
                namespace = pool.namespace if pool.namespace is not None else self._settings.namespace
                pools[name] = self._given or self._make(name, pool.url, namespace)
            self._pools = pools

    async def close(self) -> None:
        """Disconnect from every pool, and give the embedded server up."""
        self.is_open = False
        pools, self._pools = self._pools, {}
        for broker in pools.values():
            if broker is not self._given:
                await broker.close()
        use, self._use = self._use, None
        if use is not None:
            await asyncio.to_thread(use.release)

    def abandon(self) -> None:
        """Leave connections whose event loop is closed as they are, and give the embedded server up."""
        use, self._use = self._use, None
        if use is not None:
            use.release()

    async def _default_pool(self) -> StreamBroker:
        settings = self._settings
        if self._given is not None:
            return self._given
        if self._client is not None:
            from penstock.streams.valkey import ValkeyBroker

            return ValkeyBroker(client=self._client, namespace=settings.namespace, observer=self._observer)
        if settings.streams is not None:
            return self._make(_DEFAULT_POOL, settings.streams, settings.namespace)
        from penstock.streams.embedded import use_server

        self._use = await asyncio.to_thread(use_server, settings.data_folder, durability=settings.durability)
        return self._make(_DEFAULT_POOL, self._use.url, settings.namespace)

    def _make(self, pool: str, url: str, namespace: str) -> StreamBroker:
        if url == "memory://":
            from penstock.streams.memory import MemoryBroker, MemoryServer

            server = self._memory.setdefault(pool, MemoryServer(self._clock))
            return MemoryBroker(namespace=namespace, server=server)
        from penstock.streams.valkey import ValkeyBroker

        return ValkeyBroker(url, namespace=namespace, observer=self._observer)

    async def __aenter__(self) -> "Brokers":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(self.close())


def _nearest(name: str, known: Iterable[str]) -> str | None:
    import difflib  # only when something is wrong

    return next(iter(difflib.get_close_matches(name, [*known], n=1)), None)


@dataclass(slots=True)
class Link:
    """An app's way to its servers from one event loop."""

    brokers: Brokers
    pid: int
    publisher: "Publisher | None" = None


class Links:
    """One `Link` for each event loop that an app is used from: connections belong to the loop that made them.

    A script that calls ``asyncio.run`` twice, ``app.sync`` beside a loop of one's own, and a child that was forked each
    have their own.
    """

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, Link] = {}

    def here(self) -> Link | None:
        """The link of the running loop, if it has one."""
        return self._by_loop.get(asyncio.get_running_loop())

    def make(self, brokers: Brokers) -> Link:
        """Link the running loop to *brokers*."""
        link = self._by_loop[asyncio.get_running_loop()] = Link(brokers, os.getpid())
        return link

    def take(self) -> Link | None:
        """Take the link of the running loop out, if it has one."""
        return self._by_loop.pop(asyncio.get_running_loop(), None)

    def forget_dead(self) -> bool:
        """Drop what belongs to closed loops and to the process that we were forked from; whether there was any."""
        dead = {
            loop: link
            for loop, link in list(self._by_loop.items())
            if loop.is_closed() or link.pid != os.getpid()
        }
        for loop, link in dead.items():
            del self._by_loop[loop]
            if link.pid == os.getpid():
                link.brokers.abandon()
        return bool(dead)

    def __bool__(self) -> bool:
        return bool(self._by_loop)
