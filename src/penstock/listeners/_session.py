"""What the parts of one running worker share."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from penstock.clock import Clock
from penstock.errors import UnknownGroupError, UnknownStreamError
from penstock.listeners._after import After
from penstock.listeners._backoff import Insistent
from penstock.listeners._gate import Gate
from penstock.listeners._hand import Hand
from penstock.listeners._handling import Handling
from penstock.listeners.groups import Group
from penstock.listeners.settings import GroupSettings
from penstock.position import BEGINNING, EntryId, Start
from penstock.streams.abc import RawId, StreamBroker
from penstock.telemetry import LOGGER, Observer

__all__ = ["Counts", "Session"]

T = TypeVar("T")


@dataclass(slots=True)
class Counts:
    """What a worker has done since it started."""

    delivered: int = 0
    handled: int = 0
    failed: int = 0
    retried: int = 0
    lost: int = 0
    unhandled: int = 0
    last_progress: float = 0.0
    """The clock's monotonic time of the last entry taken or settled."""


@dataclass
class Session(Insistent):
    """One consumer of one group at one broker, from its name to its end."""

    broker: StreamBroker
    group: Group
    streams: tuple[str, ...]
    """What is read now; streams found by pattern come and go."""
    consumer: str
    handling: Handling
    hand: Hand
    gate: Gate
    clock: Clock
    observer: Observer | None = None
    reconnect_attempts: int | None = None
    counts: Counts = field(default_factory=Counts)
    after: After | None = None
    """Told of what was acknowledged as handled."""
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing new may be taken."""
    settled_up_to: dict[str, EntryId] = field(default_factory=dict)
    found: set[str] = field(default_factory=set[str])
    """Those of the streams that were found by pattern."""
    streams_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when streams were found, and when the session becomes quiet."""
    retries_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a retry was recorded, so that its due time is looked at."""
    paused_by: BaseException | None = None
    stopped_by: BaseException | None = None
    """What made the worker stop by itself."""

    @property
    def settings(self) -> GroupSettings:
        """The group's settings."""
        return self.group.settings

    def stop(self, reason: BaseException | None = None) -> None:
        """Take nothing new from now on. Idempotent."""
        if reason is not None and self.stopped_by is None:
            self.stopped_by = reason
        self.quiet.set()
        self.streams_changed.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing new may be taken."""
        return self.quiet.is_set()

    def progressed(self) -> None:
        """Something moved."""
        self.counts.last_progress = self.clock.monotonic()

    def note_settled(self, stream: str, entry_id: RawId) -> None:
        """Remember how far this stream was settled, to begin there again should the group be deleted."""
        place = EntryId.parse(entry_id)
        if place > self.settled_up_to.get(stream, _ZERO):
            self.settled_up_to[stream] = place

    def lost(self, stream: str, count: int) -> None:
        """Entries were not ours any more when we came to settle them."""
        self.counts.lost += count
        if self.observer is not None:
            self.observer.lost(self.group.name, stream, count)

    async def recreate_group(self, stream: str, cause: UnknownGroupError) -> None:
        """The group or its stream was deleted underneath: make it again, or halt, as the policy says.

        It begins after the last entry settled here; with nothing settled, where the group is declared to begin.
        """
        if stream in self.found and await self._is_gone(stream):
            self._give_up(stream)
            return
        if self.settings.on_missing == "halt":
            raise cause
        held = self.hand.held().get(stream, [])
        start = await self._after_settled(stream, held)
        if await self.broker.create_group(stream, self.group.name, start):
            LOGGER.error(
                "consumer group %r of stream %r was deleted; made again %s",
                self.group.name,
                stream,
                f"after {start}" if isinstance(start, EntryId) else "at the beginning",
            )
        # What was in hand is delivered again by the new group; the old pending list is gone.
        for entry_id in held:
            self.hand.drop(stream, entry_id)

    def read_also(self, streams: Sequence[str]) -> None:
        """Streams were found by pattern; their groups exist."""
        self.found.update(streams)
        self.streams = (*self.streams, *streams)
        self.streams_changed.set()

    async def _is_gone(self, stream: str) -> bool:
        try:
            await self.broker.info(stream)
        except UnknownStreamError:
            return True
        return False

    def _give_up(self, stream: str) -> None:
        """A stream that a pattern had found was deleted; should it come again, it is found again."""
        LOGGER.info("stream %r, found for group %r, was deleted", stream, self.group.name)
        self.found.discard(stream)
        self.streams = tuple(each for each in self.streams if each != stream)
        for entry_id in self.hand.held().get(stream, []):
            self.hand.drop(stream, entry_id)

    async def _after_settled(self, stream: str, held: Sequence[RawId]) -> Start:
        """Where the group made again begins: below what is in hand, else after what was settled."""
        lowest = min((EntryId.parse(entry_id) for entry_id in held), default=None)
        settled = lowest.previous() if lowest is not None else self.settled_up_to.get(stream)
        try:
            last = (await self.broker.info(stream)).last_id
        except UnknownStreamError:
            return BEGINNING
        # A stream that ends before what was settled is another one under the same name.
        return settled if settled is not None and settled <= last else BEGINNING


_ZERO = EntryId(0)
