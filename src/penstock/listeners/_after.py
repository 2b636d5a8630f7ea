"""What is done with entries after all listeners of a group succeeded and the server has taken the acknowledgement."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from penstock.streams.abc import RawId, StreamBroker
from penstock.telemetry import LOGGER

__all__ = ["After", "AfterAcknowledged"]

AfterAcknowledged: TypeAlias = Callable[[StreamBroker, str, Sequence[RawId]], Awaitable[None]]
"""``async def after(broker, stream, entry_ids)``: called with bounded batches, in order, again after an error.

It works beside the handlers and settles nothing: if the process dies before, the entries are handled all the same.
"""


class _Session(Protocol):
    """What it is passed on with."""

    broker: StreamBroker

    async def insist(self, what: str, action: Callable[[], Awaitable[None]]) -> None:
        """Do it, however long the server is away."""
        ...


_BATCH = 200
_MOST = 100_000


class After:
    """Gathers what was acknowledged, and passes it on in batches.

    What comes faster than it can be passed on is dropped beyond a bound, and said so: it stays as it is.
    """

    def __init__(self, call: AfterAcknowledged) -> None:
        self._call = call
        self._waiting: dict[str, list[RawId]] = {}
        self._count = 0
        self._some = asyncio.Event()

    def note(self, stream: str, entry_ids: Sequence[RawId]) -> None:
        """These were acknowledged."""
        if self._count + len(entry_ids) > _MOST:
            LOGGER.warning("%d handled entries of stream %r are left in it for now", len(entry_ids), stream)
            return
        self._waiting.setdefault(stream, []).extend(entry_ids)
        self._count += len(entry_ids)
        self._some.set()

    async def run(self, session: _Session) -> None:
        """Pass on what comes, for ever."""
        while True:
            await self._some.wait()
            await self.finish(session)

    async def finish(self, session: _Session) -> None:
        """Pass on everything that waits."""
        while self._waiting:
            stream, entry_ids = next(iter(self._waiting.items()))
            batch = entry_ids[:_BATCH]
            await session.insist(
                "what comes after handling", functools.partial(self._call, session.broker, stream, batch)
            )
            del entry_ids[: len(batch)]
            self._count -= len(batch)
            if not entry_ids:
                del self._waiting[stream]
        self._some.clear()
