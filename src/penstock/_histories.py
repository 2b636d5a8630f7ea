"""The part of an app that tells the history of one entity: where its events may be, and what the archive has."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from penstock._wiring import Brokers
from penstock.archive import Archive, ArchivedMessage
from penstock.config import Settings
from penstock.errors import NoArchiveError
from penstock.event import EventType, event_type, is_event
from penstock.listeners.history import Find, History, HistorySource, identifier_of, names_of
from penstock.listeners.registry import Registry
from penstock.message import Message
from penstock.position import EntryId
from penstock.streams.abc import Index
from penstock.streams.layouts import Layouts
from penstock.streams.topics import split_shard, with_shard

__all__ = ["TellsHistories", "declared_events"]


class TellsHistories(ABC):
    """The part of an app that tells histories."""

    registry: Registry

    @property
    @abstractmethod
    def layouts(self) -> Layouts:
        """The layout of every stream."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    @abstractmethod
    async def open_archive(self) -> Archive:
        """The app's archive, open."""

    def history(
        self, events: Any, identifier: object, *, stream: str | None = None, shard: str | None = None
    ) -> History:
        """The history of one entity: ``app.history(OrderPlaced, "o-1")``, then `History.state` or `History.events`.

        *events* is an event class, a name, or a list of these, whose events are told together. They are those whose key
        is *identifier*, emitted since their class or stream asked for ``history``. *stream* is where they are, where
        that is not what class or name say; *shard* a tenant's (or other) part of it. Nothing is read yet.

        Raises:
            UsageError: Something is no event, or no identifier.
        """
        names = [(name, stream or self._stream_of(name, said)) for name, said in names_of(events)]
        if shard is not None:
            names = [(name, with_shard(where, shard)) for name, where in names]

        async def sources() -> list[HistorySource]:
            brokers = await self._opened()
            found: list[HistorySource] = []
            for name, where in names:
                broker = brokers.broker_for(where)
                lanes = await brokers.partitioned.lanes(where) if brokers.partitioned is not None else ()
                found += (HistorySource(broker, lane, name) for lane in dict.fromkeys((where, *lanes)))
            return found

        return History(identifier_of(identifier), sources, self.layouts, archive=self._finding)

    def index_of(self, message: ArchivedMessage) -> Index | None:
        """Where a message from the archive belongs in the history of its entity, for who puts it back.

        Where neither settings nor a class that a listener names say that its events are indexed, it is indexed if its
        entity has a history already. ``None``: it has no key, or nobody could read it.
        """
        key = message.meta.key
        if key is None or not message.name:
            return None
        settings = self.settings.stream_settings
        wanted = any(
            declared.history
            for name in (message.stream, split_shard(message.stream)[0])
            if (declared := settings.get(name)) is not None
        ) or any(each.history for each in declared_events(self.registry) if each.name == message.name)
        return Index(message.name, key, message.first_id, if_known=not wanted)

    def _stream_of(self, name: str, said: str) -> str:
        """The stream of a bare name: that of the class of this name, where a listener has one."""
        known = {declared.name: declared.stream for declared in declared_events(self.registry)}
        return known.get(name, said) if name == said else said

    async def _finding(self) -> Find | None:
        try:
            archive = await self.open_archive()
        except NoArchiveError:
            return None

        async def find(stream: str, entry_id: EntryId) -> Message | None:
            kept = await archive.find(stream, entry_id)
            if kept is None:
                return None
            return self.layouts.read(stream, bytes(kept.entry_id), list(kept.fields))

        return find


def declared_events(registry: Registry) -> Iterator[EventType]:
    """What the event classes that listeners name declare."""
    for group in registry:
        for listener in group.listeners:
            yield from (event_type(each) for each in listener.events if is_event(each))
