"""Streams on a Valkey or Redis server, 6.2 or later: `ValkeyBroker`.

Importing this module is how one opts in to the driver, redis-py. How it works is in `penstock.streams._valkey`.
"""

import asyncio
from datetime import timedelta
from typing import Any

from penstock.errors import BrokerUnavailableError, UsageError
from penstock.streams._valkey.appends import Appends
from penstock.streams._valkey.clients import describe, pool_from_url, pool_of, user_of
from penstock.streams._valkey.connector import Connector, Reconnect
from penstock.streams._valkey.entries import Entries
from penstock.streams._valkey.failures import ValkeyFailures
from penstock.streams._valkey.groups import Groups
from penstock.streams._valkey.inspection import Inspection
from penstock.streams._valkey.probe import probe
from penstock.streams._valkey.server import Server
from penstock.streams.abc import Capabilities, FailureStore
from penstock.streams.keys import Keys
from penstock.telemetry import Observer

__all__ = ["Reconnect", "ValkeyBroker"]


class ValkeyBroker(Appends, Entries, Groups, Inspection):
    """Streams on one Valkey or Redis server.

    Give a *url* (``redis://``, ``rediss://``, ``unix://``, with user, password and database), or bring your own
    *client*, whose pool is then the only source of connections and is never closed from here. Every key begins with
    *namespace*.

    `open` makes one try within *connect_timeout*. Later, a connection that breaks is made again as *reconnect* says:
    what was sent and not answered fails at once and is never sent again from here; a command issued meanwhile waits for
    the server at most *answer_timeout*. The same time bounds every answer (a waiting read: its own time on top); bytes
    that move count as a sign of life, so that a large body on a slow line may take longer.

    Connections: one for adding, one for settling and renewing, one for looking, one for each consumer that reads and
    for each other reader that waits; each made when first used.
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
        pool = pool_from_url(url, connect_timeout=connect_timeout) if url is not None else pool_of(client)
        self._connector = Connector(
            pool,
            server=describe(pool),
            user=user_of(pool),
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
            reconnect=reconnect or Reconnect(),
            observer=observer or Observer(),
            adopting=self._adopting,
        )
        self._server = Server(self._connector, Keys(namespace))
        self._failures = ValkeyFailures(self._server)
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._connector.server}>"

    async def open(self) -> None:
        """Connect and probe. Idempotent. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        async with self._opening:
            if self._server.capabilities is None:
                try:
                    await self._server.open()
                    self._server.capabilities = await probe(self._server)
                except BaseException:
                    await self._server.close()
                    raise

    async def close(self) -> None:
        """Finish what was sent, then disconnect. Idempotent; `open` works again afterwards."""
        async with self._opening:
            await self._server.close()

    @property
    def capabilities(self) -> Capabilities:
        """What was found at `open`. Raises `BrokerUnavailableError` before that."""
        if self._server.capabilities is None:
            raise BrokerUnavailableError(
                f"{self._connector.server} has not been asked yet; open the broker first"
            )
        return self._server.capabilities

    @property
    def failures(self) -> FailureStore:
        """The records of failed messages, kept on the same server so that one script can settle and record."""
        return self._failures
