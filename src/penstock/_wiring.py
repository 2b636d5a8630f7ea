"""From settings to servers: which backend each pool has, and which pool each stream is in.

Backends are imported here, when a pool needs one: importing penstock loads no driver.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from penstock.clock import Clock
from penstock.config import Settings
from penstock.errors import UnregisteredGroupError, UnregisteredStreamError
from penstock.streams.abc import Cap, StreamBroker
from penstock.telemetry import Observer

if TYPE_CHECKING:
    from penstock.streams.embedded import ServerUse

__all__ = ["Brokers"]

_DEFAULT_POOL = "default"


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
    ) -> None:
        self._settings = settings
        self._client: Any = client
        self._observer = observer
        self._clock = clock
        self._given = broker
        self._pools: dict[str, StreamBroker] = {}
        self._caps: dict[str, Cap | None] = {}
        self._use: ServerUse | None = None
        self._opening: asyncio.Lock | None = None
        self.is_open = False

    # -- which server -------------------------------------------------------------------------------------------

    def broker_for(self, stream: str) -> StreamBroker:
        """The server that keeps *stream*. Raises `UnregisteredStreamError` in strict mode."""
        declared = self._settings.stream_settings.get(stream)
        if declared is None:
            if self._settings.strict:
                import difflib  # only when something is wrong

                close = difflib.get_close_matches(stream, self._settings.stream_settings, n=1)
                raise UnregisteredStreamError(stream, nearest=close[0] if close else None)
            return self._pools[_DEFAULT_POOL]
        return self._pools[declared.pool]

    def check_group(self, group: str, stream: str) -> None:
        """Raises `UnregisteredGroupError` for a group that is not among those declared for the stream.

        In strict mode also `UnregisteredStreamError`, for a stream that is declared nowhere.
        """
        self.broker_for(stream)
        declared = self._settings.stream_settings.get(stream)
        if declared is not None and declared.groups is not None and group not in declared.groups:
            raise UnregisteredGroupError(group, stream)

    def pool_of(self, stream: str) -> str:
        """The name of the pool that *stream* is in."""
        declared = self._settings.stream_settings.get(stream)
        return declared.pool if declared is not None else _DEFAULT_POOL

    def cap_for(self, stream: str) -> Cap | None:
        """How large *stream* may grow, if its settings say so."""
        if stream not in self._caps:
            declared = self._settings.stream_settings.get(stream)
            capped = declared is not None and (
                declared.max_entries is not None or declared.max_age is not None
            )
            self._caps[stream] = (
                Cap(declared.max_entries, declared.max_age, declared.remove_needed)
                if declared is not None and capped
                else None
            )
        return self._caps[stream]

    @property
    def pools(self) -> dict[str, StreamBroker]:
        """Every server by the name of its pool."""
        return dict(self._pools)

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect to every pool. Idempotent. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        if self.is_open:
            return
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self.is_open:
                return
            await self.prepare()
            for broker in self._pools.values():
                await broker.open()
            self.is_open = True

    async def prepare(self) -> None:
        """Make the brokers without connecting; starts the embedded server if it is to be used."""
        if self._pools:
            return
        pools = {_DEFAULT_POOL: await self._default_pool()}
        for name, pool in self._settings.pools.items():
            namespace = pool.namespace if pool.namespace is not None else self._settings.namespace
            pools[name] = self._given or self._make(pool.url, namespace)
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

    async def _default_pool(self) -> StreamBroker:
        settings = self._settings
        if self._given is not None:
            return self._given
        if self._client is not None:
            from penstock.streams.valkey import ValkeyBroker

            return ValkeyBroker(client=self._client, namespace=settings.namespace, observer=self._observer)
        if settings.streams is not None:
            return self._make(settings.streams, settings.namespace)
        from penstock.streams.embedded import use_server

        self._use = await asyncio.to_thread(use_server, settings.data_folder, durability=settings.durability)
        return self._make(self._use.url, settings.namespace)

    def _make(self, url: str, namespace: str) -> StreamBroker:
        if url == "memory://":
            from penstock.streams.memory import MemoryBroker

            return MemoryBroker(clock=self._clock, namespace=namespace)
        from penstock.streams.valkey import ValkeyBroker

        return ValkeyBroker(url, namespace=namespace, observer=self._observer)

    async def __aenter__(self) -> "Brokers":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(self.close())
