"""What the lanes of one ordered worker share, and what one lane is made of."""

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

from penstock.clock import Clock
from penstock.listeners._after import After
from penstock.listeners._backoff import Insistent
from penstock.listeners._gate import Gate
from penstock.listeners._handling import Handling
from penstock.listeners._session import Counts
from penstock.listeners.groups import Group
from penstock.listeners.settings import GroupSettings
from penstock.position import EntryId
from penstock.streams.abc import Lane, StreamBroker
from penstock.streams.layouts import EntryReader
from penstock.telemetry import Observer

__all__ = ["LaneState", "Shared"]

T = TypeVar("T")


@dataclass
class Shared(Insistent):
    """One process's part in one ordered group."""

    broker: StreamBroker
    group: Group
    handling: Handling
    gate: Gate
    clock: Clock
    layout: EntryReader
    observer: Observer | None
    counts: Counts
    reconnect_attempts: int | None
    slots: asyncio.Semaphore
    """One for each message that the process handles at the same time, over all lanes."""
    after: After | None = None
    """What is done with entries after they were acknowledged as handled."""
    places: dict[str, EntryId | None] = field(default_factory=dict[str, EntryId | None])
    """The streams that were worked, and up to where everything was settled when we last knew."""
    paused_by: BaseException | None = None

    @property
    def settings(self) -> GroupSettings:
        """The group's settings."""
        return self.group.settings

    def progressed(self) -> None:
        """Something moved."""
        self.counts.last_progress = self.clock.monotonic()


@dataclass
class LaneState:
    """One lane while it is ours: what its parts tell each other."""

    shared: Shared
    lane: Lane
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing new may be taken in or begun."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server says that the lane is not ours."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an entry may start: those who handle look again."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an entry left or has to wait: who reads looks again."""
    parked: set[str] = field(default_factory=set[str])
    """Keys that have, or had a moment ago, parked events. Only the owner of the lane parks, so no other has any."""
    stopped_by: BaseException | None = None
    """What made the lane stop by itself."""

    @property
    def stream(self) -> str:
        """The lane's stream."""
        return self.lane.stream

    def stop(self, reason: BaseException | None = None) -> None:
        """Take nothing new from now on. Idempotent."""
        if reason is not None and self.stopped_by is None:
            self.stopped_by = reason
        self.quiet.set()
        self.came.set()
        self.left.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing new may be taken in or begun."""
        return self.quiet.is_set()
