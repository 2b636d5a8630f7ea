"""A connection that comes back: what a command asks for a wire, and waits for one while the server is away."""

import asyncio
from collections.abc import Sequence
from typing import Final

from penstock.errors import BrokerUnavailableError
from penstock.streams._valkey.connector import Connector
from penstock.streams._valkey.wire import Wire
from penstock.telemetry import LOGGER

__all__ = ["Line"]

_LOG: Final = LOGGER.getChild("streams.valkey")


class Line:
    """One lasting connection of a broker, connected when first used and again after every loss.

    A command issued while the server is away waits for it at most the answer timeout. What was sent and not answered is
    never sent again from here.
    """

    def __init__(self, connector: Connector, name: str) -> None:
        self.wire: Wire | None = None
        """The wire, while there is one. When there is none, or it is crowded, call `ready`."""
        self.name = name
        self.connector = connector
        """Where it leads."""
        self._connecting: asyncio.Task[Wire] | None = None

    # -- which of several lines: a single server has one ---------------------------------------------------------

    def at(self, key: bytes) -> "Line":
        """The line to the node that keeps *key*."""
        return self

    def beside(self, line: "Line") -> "Line":
        """The line to the node to which *line* leads."""
        return self

    def by_slot(self, keys: Sequence[bytes]) -> list[list[bytes]]:
        """The keys, those together that one command may have."""
        return [list(keys)]

    def each(self) -> list["Line"]:
        """The lines to all nodes."""
        return [self]

    # -- connected, or soon -------------------------------------------------------------------------------------

    @property
    def is_in_use(self) -> bool:
        """There is a wire, or soon will be."""
        return self.wire is not None or self._connecting is not None

    async def open(self) -> None:
        """Connect with one try. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        if self.wire is None:
            self.wire = await self.connector.connect_once(self._on_lost)

    async def ready(self) -> Wire:
        """A connected wire with room. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        while True:
            wire = self.wire
            if wire is None:
                wire = await self._connected()
            if not wire.crowded:
                return wire
            await wire.room()

    def drop(self, reason: str) -> None:
        """Close the connection at once; the next use makes a new one."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.drop(BrokerUnavailableError(reason))

    async def close(self) -> None:
        """Let what was sent be answered, then disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            self._connecting = None
        wire, self.wire = self.wire, None
        if wire is not None:
            try:
                async with asyncio.timeout(self.connector.answer_timeout_s):
                    await wire.finish()
            except TimeoutError as error:
                wire.drop(error)

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _connected(self) -> Wire:
        if self._connecting is None:
            name = f"connect to {self.connector.server} for {self.name}"
            self._connecting = asyncio.create_task(self._connect(), name=name)
            self._connecting.add_done_callback(self._tried)
        timeout_s = self.connector.answer_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise BrokerUnavailableError(
                f"{self.connector.server} was away for {timeout_s:g} s{self.connector.why_away}"
            ) from None

    async def _connect(self) -> Wire:
        # Nothing may be awaited between these two: the wire could break unnoticed.
        self.wire = await self.connector.connect(self._on_lost)
        return self.wire

    def _tried(self, connecting: "asyncio.Task[Wire]") -> None:
        if self._connecting is connecting:
            self._connecting = None
        if not connecting.cancelled():
            # Whoever waited was told; if nobody did, the next one will try again.
            connecting.exception()

    def _on_lost(self, cause: BaseException) -> None:
        if self.wire is None:
            # We closed it ourselves, or it broke before it was ours.
            return
        self.wire = None
        _LOG.warning("the connection to %s for %s broke: %s", self.connector.server, self.name, cause)
        self.connector.lost(cause)
