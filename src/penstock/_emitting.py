"""The emitting part of an app: events go out at once, or later."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Unpack, overload

from penstock._wiring import Brokers, Links
from penstock.codec import Codec
from penstock.message import new_event_id
from penstock.position import EntryId
from penstock.streams.abc import Dedupe
from penstock.streams.layouts import Layouts
from penstock.streams.publisher import Flusher, Outgoing, Published, Publisher, Said
from penstock.streams.scheduling import Later, Scheduled

__all__ = ["Emits"]


class Emits(ABC):
    """The part of an app that emits."""

    _links: Links

    @property
    @abstractmethod
    def layouts(self) -> Layouts:
        """The layout of every stream."""

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    @abstractmethod
    async def _publishing(self) -> Publisher: ...

    @overload
    async def emit(self, event: object, **said: Unpack[Said]) -> Published: ...
    @overload
    async def emit(self, event: object, *, at: datetime | str, **said: Unpack[Said]) -> Scheduled: ...
    @overload
    async def emit(self, event: object, *, after: timedelta | str, **said: Unpack[Said]) -> Scheduled: ...
    async def emit(
        self,
        event: object,
        *,
        name: str | None = None,
        stream: str | None = None,
        key: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        entry_id: EntryId | None = None,
        event_id: str | None = None,
        dedupe: Dedupe | bool = False,
        shard: str | None = None,
        at: datetime | str | None = None,
        after: timedelta | str | None = None,
    ) -> Published | Scheduled:
        """Write one event to its stream and answer where it went.

        *event* is an instance of a declared event class, or any value with *name*. What is left out comes from the
        class; the stream of a bare name is the name. *entry_id* sets the place; *event_id* the identity. With *dedupe*
        the server writes an event of the same id (or the token you give) once, so that an unknown outcome may be sent
        again. *shard* writes to that tenant's (or other) part of the stream; see `Topic`. A stream with partitions has
        the event in the one that its key chooses; the answer names that.

        With *at*, a time with its zone, or *after*, a delay, the event waits on the server and enters its stream then;
        that is its own time, too. The answer says when; `cancel_scheduled` takes it back.

        Raises:
            UsageError: The event cannot be published as it is; nothing was sent.
            UnregisteredStreamError: Strict mode does not know the stream; nothing was sent.
            EntryIdTooSmallError: *entry_id* is not above the stream's last.
            StreamFullError: The stream is at its cap.
            BrokerUnavailableError: Nothing was written.
            RepartitioningError: The stream's partitions are being changed, for longer than an event waits for that.
            PartitionCountError: The settings say another number of partitions than the stream has.
            PublishError: The connection broke after sending: the event may be there.
        """
        link = self._links.here()
        publisher = link.publisher if link is not None else None
        if publisher is None:
            publisher = await self._publishing()
        outgoing = Outgoing(event, stream, name, key, kind, headers, codec, entry_id, event_id, dedupe, shard)
        if at is None and after is None:
            return await publisher.publish(outgoing)
        return await (await self._later()).emit(publisher, outgoing, at=at, after=after)

    async def emit_to(self, streams: Iterable[str], event: object, **said: Unpack[Said]) -> list[Published]:
        """Write the same event, under one event id, to several streams; one place per stream.

        The keywords and errors are those of `emit_many`, without ``stream``.
        """
        publisher = await self._publishing()
        said.setdefault("event_id", new_event_id())
        batch: list[Outgoing] = []
        for stream in streams:
            said["stream"] = stream
            batch.append(Outgoing(event, **said))
        return await publisher.publish_many(batch)

    async def emit_many(self, events: Iterable[object], **said: Unpack[Said]) -> list[Published]:
        """Write many events in one pipeline per server, in order; where each went. The keywords are those of `emit`.

        Every event is checked and encoded before the first is sent.

        Raises:
            UsageError: One of the events cannot be published; nothing was sent.
            CodecError: One of the bodies cannot be encoded; nothing was sent.
            PublishError: Some were not written, or nobody knows: it says which.
        """
        publisher = await self._publishing()
        return await publisher.publish_many([Outgoing(event, **said) for event in events])

    @contextlib.asynccontextmanager
    async def flusher(self, *, limit: int = 1000) -> AsyncIterator[Flusher]:
        """Collect events and write them together: at *limit*, on ``flush()``, and when the block ends well."""
        async with (await self._publishing()).flusher(limit=limit) as flusher:
            yield flusher

    # -- what waits ---------------------------------------------------------------------------------------------

    async def scheduled(self, *, stream: str | None = None, limit: int | None = None) -> list[Scheduled]:
        """The events that wait for their time, by that: all, or of one stream, or the first *limit*."""
        return await (await self._later()).scheduled(stream=stream, limit=limit)

    async def cancel_scheduled(self, event_id: str, *, stream: str | None = None) -> bool:
        """Take back an event that waits; False when none of that id waits (any more). After a True it never comes.

        With *stream* only that one is looked at, which is cheaper where there are many.
        """
        return await (await self._later()).cancel(event_id, stream=stream)

    async def _later(self) -> Later:
        brokers = await self._opened()
        return Later(brokers.pools, brokers.broker_for, self.layouts)
