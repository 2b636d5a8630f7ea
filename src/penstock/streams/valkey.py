"""Streams on Valkey or Redis, 6.2 or later, on one server, with Sentinels, or on a cluster: `ValkeyBroker`.

Importing this module is how one opts in to the driver, redis-py. How it works is in `penstock.streams._valkey`.
"""

import asyncio
from datetime import timedelta
from typing import Any

from penstock.errors import BrokerUnavailableError, UsageError
from penstock.streams._valkey.appends import Appends
from penstock.streams._valkey.clients import OnePool, describe, pools_from_url, pools_of, user_of
from penstock.streams._valkey.cluster import Cluster
from penstock.streams._valkey.connector import Connector, Reconnect
from penstock.streams._valkey.entries import Entries
from penstock.streams._valkey.failures import ValkeyFailures
from penstock.streams._valkey.figures import ValkeyFigures
from penstock.streams._valkey.groups import Groups
from penstock.streams._valkey.history import ValkeyHistory
from penstock.streams._valkey.inspection import Inspection
from penstock.streams._valkey.lanes import ValkeyLanes
from penstock.streams._valkey.leases import ValkeyLeases, ValkeyMembers
from penstock.streams._valkey.notes import ValkeyNotes
from penstock.streams._valkey.partitions import ValkeyPartitions
from penstock.streams._valkey.probe import probe
from penstock.streams._valkey.relays import ValkeyRelays
from penstock.streams._valkey.removal import ValkeyRemovals
from penstock.streams._valkey.schedule import ValkeySchedule
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values_by_key import ValkeyValues
from penstock.streams.abc import Capabilities, FailureStore
from penstock.streams.keys import Keys
from penstock.telemetry import Observer

__all__ = ["Reconnect", "ValkeyBroker"]


class ValkeyBroker(Appends, Entries, Groups, Inspection):
    """Streams on a Valkey or Redis server, on a cluster of them, or on whichever the Sentinels name.

    Give a *url* (``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://HOST:PORT,HOST:PORT``,
    ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE``, with user, password and database), or bring your own *client* (a
    `redis.asyncio.Redis`, one of `Sentinel.master_for`, or a `redis.asyncio.RedisCluster`), whose pool or nodes are
    then the only source of connections and are never closed from here. Every key begins with *namespace*.

    `open` makes one try within *connect_timeout*. Later, a connection that breaks is made again as *reconnect* says:
    what was sent and not answered fails at once and is never sent again from here; a command issued meanwhile waits for
    the server at most *answer_timeout*. The same time bounds every answer (a waiting read: its own time on top); bytes
    that move count as a sign of life, so that a large body on a slow line may take longer. What a server refused before
    it did anything, since a slot has moved or a replica is about to take over, is sent again within *answer_timeout*.

    Connections: one for adding, one for settling and renewing, one for looking, one for each consumer that reads and
    for each other reader that waits; each made when first used, in a cluster to each node that is used. *reconnect*
    bounds no waiting there, since another node may take over: *answer_timeout* does.
    """

    _adopting = True

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        namespace: str = "",
        connect_timeout: timedelta = timedelta(seconds=5),
        answer_timeout: timedelta = timedelta(seconds=10),
        observer: Observer | None = None,
        reconnect: Reconnect | None = None,
    ) -> None:
        if (url is None) == (client is None):
            raise UsageError("a ValkeyBroker takes either a URL or a client")
        if connect_timeout <= timedelta(0) or answer_timeout <= timedelta(0):
            raise UsageError("connect_timeout and answer_timeout must be above zero")
        self._pools = (
            pools_from_url(url, connect_timeout=connect_timeout) if url is not None else pools_of(client)
        )

        def connector(pool: Any) -> Connector:
            return Connector(
                pool,
                server=describe(pool),
                user=user_of(pool),
                connect_timeout=connect_timeout,
                answer_timeout=answer_timeout,
                reconnect=reconnect or Reconnect(),
                observer=observer or Observer(),
                adopting=self._adopting,
                patient=isinstance(self._pools, OnePool),
            )

        if isinstance(self._pools, OnePool):
            source: Connector | Cluster = connector(self._pools.pool)
        else:
            source = Cluster(self._pools, connector, answer_timeout_s=answer_timeout.total_seconds())
        self._server = Server(source, Keys(namespace))
        self._failures = ValkeyFailures(self._server)
        self._partitions = ValkeyPartitions(self._server)
        self._removal = ValkeyRemovals(self._server)
        self._figures = ValkeyFigures(self._server)
        self._leases = ValkeyLeases(self._server)
        self._members = ValkeyMembers(self._server)
        self._lanes = ValkeyLanes(self._server)
        self._history = ValkeyHistory(self._server)
        self._schedule = ValkeySchedule(self._server)
        self._values = ValkeyValues(self._server)
        self._notes = ValkeyNotes(self._server)
        self._relays = ValkeyRelays(self._server)
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._server.name}>"

    async def open(self) -> None:
        """Connect and probe. Idempotent. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        async with self._opening:
            if self._server.capabilities is None:
                try:
                    await self._server.open()
                    self._server.capabilities = await probe(self._server)
                except BaseException:
                    await self._server.close()
                    await self._pools.aclose()
                    raise

    async def close(self) -> None:
        """Finish what was sent, then disconnect. Idempotent; `open` works again afterwards."""
        async with self._opening:
            await self._server.close()
            await self._pools.aclose()

    @property
    def capabilities(self) -> Capabilities:
        """What was found at `open`. Raises `BrokerUnavailableError` before that."""
        if self._server.capabilities is None:
            raise BrokerUnavailableError(f"{self._server.name} has not been asked yet; open the broker first")
        return self._server.capabilities

    @property
    def leases(self) -> ValkeyLeases:
        """Timed ownership of names, of streams and of lanes."""
        return self._leases

    @property
    def members(self) -> ValkeyMembers:
        """Who shares the work of a group over partitions."""
        return self._members

    @property
    def lanes(self) -> ValkeyLanes:
        """What the leased owner of an ordered group's stream settles and parks."""
        return self._lanes

    @property
    def figures(self) -> ValkeyFigures:
        """How fast the handlers of groups are."""
        return self._figures

    @property
    def removal(self) -> ValkeyRemovals:
        """What is still needed, and the removal of what is not."""
        return self._removal

    @property
    def history(self) -> ValkeyHistory:
        """The index of entries by event name and identifier."""
        return self._history

    @property
    def values(self) -> ValkeyValues:
        """Small values by key."""
        return self._values

    @property
    def schedule(self) -> ValkeySchedule:
        """Entries that wait for their time, and the last ticks of what recurs."""
        return self._schedule

    @property
    def notes(self) -> ValkeyNotes:
        """Who did what to failed messages, and why."""
        return self._notes

    @property
    def partitions(self) -> ValkeyPartitions:
        """How streams are cut into partitions."""
        return self._partitions

    @property
    def relays(self) -> ValkeyRelays:
        """How far relays have come into streams, and the adding of what they bring."""
        return self._relays

    @property
    def failures(self) -> FailureStore:
        """The records of failed messages, kept on the same server so that one script can settle and record."""
        return self._failures
