"""Events that come later: emitting them, listing and cancelling them, and moving into their streams what is due.

Any number of processes move. Each sleeps until the next due time, or until it is told that something nearer was
scheduled, and looks now and then for what others have scheduled.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import msgspec

from penstock.clock import Clock, parse_duration, wait_set
from penstock.errors import PenstockError, RepartitioningError, TransientError, UsageError
from penstock.lifecycle import side_by_side
from penstock.streams.abc import DelayedEntry, Moved, StreamBroker
from penstock.streams.layouts import Layouts
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import split_lane
from penstock.streams.publisher import Outgoing, Publisher
from penstock.telemetry import LOGGER

__all__ = ["Later", "Mover", "Scheduled", "Ticking"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_PAGE: Final = 500
_CHECK_EVERY: Final = timedelta(minutes=5)
_UNUSED_LOOK: Final = timedelta(seconds=1)
_AFTER_A_FAILURE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=30)
_REROUTE_SECONDS: Final = 5.0
_NO_PLACE: Final = b"0-0"


@dataclass(frozen=True, slots=True, order=True)
class Scheduled:
    """An event that waits for its time."""

    due: datetime
    """When it enters its stream, in UTC, to the millisecond."""
    event_id: str
    """Its identity; by this it is cancelled, and it keeps it in its stream."""
    stream: str
    name: str | None = None
    """The event's name; ``None`` for an entry that cannot be read as a message."""
    key: str | None = None


class Later:
    """What an app can do with events that come later."""

    def __init__(
        self, pools: Mapping[str, StreamBroker], broker_for: Callable[[str], StreamBroker], layouts: Layouts
    ) -> None:
        self._brokers = list(dict.fromkeys(pools.values()))
        self._broker_for = broker_for
        self._layouts = layouts

    async def emit(
        self,
        publisher: Publisher,
        outgoing: Outgoing,
        *,
        at: datetime | str | None,
        after: timedelta | str | None,
    ) -> Scheduled:
        """Have an event enter its stream at a time, or after a delay. Its own time is the one at which it is due.

        Raises:
            UsageError: Not one of *at* and *after*, a time without zone, or an event that cannot be published.
            BrokerError: As publishing at once; calling again with the same event id is safe.
        """
        if (at is None) == (after is None):
            raise UsageError("say when an event enters its stream either with at= or with after=")
        if outgoing.entry_id is not None or not isinstance(outgoing.dedupe, bool):
            raise UsageError(
                "an event that comes later gets its entry id then, and waits once for each event id; "
                "leave entry_id and the dedupe token out"
            )
        outgoing = msgspec.structs.replace(outgoing, dedupe=False)
        due = _parse_time(at) if at is not None else None
        delay = parse_duration(after) if after is not None else timedelta(0)
        # Placed once to know its stream, whose server's clock decides when the delay is over.
        event_id, entry = await publisher.place(outgoing, time_us=0 if due is None else _microseconds(due))
        broker = self._broker_for(entry.stream)
        if due is None:
            due = _EPOCH + await broker.server_time_us() * _US + delay
            outgoing = msgspec.structs.replace(outgoing, event_id=event_id)
            _, entry = await publisher.place(outgoing, time_us=_microseconds(due))
        kept = await broker.schedule.schedule(entry, event_id, due=due)
        [message] = self._views([DelayedEntry(entry.stream, event_id, kept, entry)])
        return message

    async def scheduled(self, *, stream: str | None = None, limit: int | None = None) -> list[Scheduled]:
        """What waits, by due time: all of it, or of one stream, or the first *limit*."""
        found: list[Scheduled] = []
        for broker in self._brokers:
            for each in await broker.schedule.streams() if stream is None else [stream]:
                found += await self._of(broker, each, limit)
        return sorted(found)[:limit]

    async def cancel(self, event_id: str, *, stream: str | None = None) -> bool:
        """Take a waiting event away; False when none of that id waits (any more). It never comes after a True."""
        for broker in self._brokers:
            for each in await broker.schedule.streams() if stream is None else [stream]:
                if await broker.schedule.cancel(each, event_id):
                    return True
        return False

    async def reroute(self, broker: StreamBroker, lane: str, partitioned: Partitioned) -> None:
        """Have what waits for a partition of a former layout wait for the one that its key chooses now.

        It waits in both for a moment rather than in none, so that a death in between loses nothing.
        """
        if (parted := split_lane(lane)) is None:
            return
        with contextlib.suppress(TimeoutError, RepartitioningError):
            async with asyncio.timeout(_REROUTE_SECONDS):
                # What it remembers is what was refused just now.
                partitioned.refused(await partitioned.layout(parted[0]))
                for waiting in await broker.schedule.delayed(lane, count=_PAGE):
                    [view] = self._views([waiting])
                    bare = msgspec.structs.replace(waiting.entry, stream=parted[0], epoch=None)
                    placed = await partitioned.place(bare, view.key or waiting.event_id)
                    if placed.stream == lane:
                        await broker.schedule.replace(placed, waiting.event_id)
                        continue
                    await broker.schedule.schedule(placed, waiting.event_id, due=waiting.due)
                    await broker.schedule.cancel(lane, waiting.event_id)

    async def _of(self, broker: StreamBroker, stream: str, limit: int | None) -> list[Scheduled]:
        found: list[Scheduled] = []
        last: DelayedEntry | None = None
        while limit is None or len(found) < limit:
            page = await broker.schedule.delayed(stream, after=last, count=_PAGE)
            found += self._views(page)
            if len(page) < _PAGE:
                break
            last = page[-1]
        return found

    def _views(self, entries: Iterable[DelayedEntry]) -> list[Scheduled]:
        found: list[Scheduled] = []
        for entry in entries:
            name = key = None
            try:
                message = self._layouts.read(entry.stream, _NO_PLACE, list(entry.entry.fields))
                name, key = message.name, message.key
            except PenstockError:
                pass  # shown by what is known: it can still be cancelled
            found.append(Scheduled(entry.due, entry.event_id, entry.stream, name, key))
        return found


class Ticking(Protocol):
    """What recurs in an app."""

    async def run_due(self) -> int:
        """Do what is due; how many entries were added."""
        ...

    async def wait(self) -> timedelta | None:
        """How long until something is due; ``None`` when nothing recurs."""
        ...


class Mover:
    """Moves into their streams the events that are due, on every server of an app, and runs what recurs."""

    def __init__(
        self,
        pools: Mapping[str, StreamBroker],
        ticking: Ticking,
        *,
        clock: Clock,
        reroute: Callable[[StreamBroker, str], Awaitable[None]] | None = None,
    ) -> None:
        self._brokers = list(dict.fromkeys(pools.values()))
        self._reroute = reroute
        """What is done about a partition that takes nothing any more."""
        self._ticking = ticking
        self._clock = clock
        self._checked: dict[StreamBroker, float] = {}
        self._in_use: set[StreamBroker] = set()
        """Servers where something was scheduled at some time."""

    async def catch_up(self) -> int:
        """Move and run what is due at this moment; how many entries were added. Raises `BrokerError`."""
        await self._open()
        added = await self._ticking.run_due()
        for broker in self._brokers:
            while (moved := await self._move(broker)).entry_ids:
                added += len(moved.entry_ids)
        return added

    async def run(self) -> None:
        """Move and run what is due, as it becomes due, until cancelled. A server that is away is waited for."""
        tasks = [
            asyncio.create_task(self._keep(self._move_on, broker), name="scheduled events")
            for broker in self._brokers
        ]
        tasks.append(asyncio.create_task(self._keep(self._tick_on, None), name="recurring events"))
        await side_by_side(tasks)

    async def _keep(
        self,
        work: Callable[[StreamBroker | None], Awaitable[timedelta | None]],
        broker: StreamBroker | None,
    ) -> None:
        changed = asyncio.Event()
        end_telling = broker.schedule.on_change(changed.set) if broker is not None else None
        pause, told = _AFTER_A_FAILURE, ""
        try:
            while True:
                changed.clear()
                try:
                    wait = await work(broker)
                    pause, told = _AFTER_A_FAILURE, ""
                except PenstockError as failure:
                    if not isinstance(failure, TransientError) and told != str(failure):
                        told = str(failure)
                        LOGGER.error("scheduled events cannot be moved: %s", failure)
                    wait, pause = pause, min(pause * 2, _LONGEST_PAUSE)
                await wait_set(changed, self._clock, at_most=wait)
        finally:
            if end_telling is not None:
                end_telling()

    async def _move_on(self, broker: StreamBroker | None) -> timedelta | None:
        if broker is None:
            return None
        await broker.open()
        now = self._clock.monotonic()
        if (
            now >= self._checked.get(broker, now) + _CHECK_EVERY.total_seconds()
            or broker not in self._checked
        ):
            await broker.schedule.check()
            self._checked[broker] = now
            if await broker.schedule.streams():
                self._in_use.add(broker)
        wait = await broker.schedule.next_due()
        if wait is not None:
            self._in_use.add(broker)
        if wait == timedelta(0):
            moved = await self._move(broker)
            for stream in moved.full:
                LOGGER.warning("stream %r is at its cap; what is due for it waits", stream)
            wait = moved.wait
        look = broker.schedule.look_every
        if look is None:
            return wait
        if broker not in self._in_use:
            return max(look, _UNUSED_LOOK)
        return look if wait is None else min(wait, look)

    async def _open(self) -> None:
        for broker in self._brokers:
            await broker.open()

    async def _move(self, broker: StreamBroker) -> Moved:
        moved = await broker.schedule.move_due()
        if self._reroute is not None:
            for stream in moved.closed:
                await self._reroute(broker, stream)
        return moved

    async def _tick_on(self, _: StreamBroker | None) -> timedelta | None:
        await self._open()
        await self._ticking.run_due()
        wait = await self._ticking.wait()
        return None if wait is None else min(wait, _LONGEST_PAUSE)


def _parse_time(at: datetime | str) -> datetime:
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise UsageError(f"{at!r} is no time; write it as in '2026-12-01T06:00Z'") from None
    if at.tzinfo is None:
        raise UsageError(f"{at.isoformat()} has no time zone; write it with one, as in {at.isoformat()}Z")
    return at


def _microseconds(time: datetime) -> int:
    return max(0, (time - _EPOCH) // _US)
