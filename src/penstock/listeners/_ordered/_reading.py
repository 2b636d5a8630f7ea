"""Taking entries in, in the order of the stream: what is pending with the lane first, then new ones, without a gap."""

import uuid
from datetime import timedelta

from penstock.errors import TransientError, UndecodableEntryError, UnknownGroupError, UnknownStreamError
from penstock.listeners._backoff import Backoff
from penstock.listeners._intake import Appetite
from penstock.listeners._names import is_abandoned
from penstock.listeners._ordered._settling import LaneSettling
from penstock.listeners._ordered._shared import LaneState
from penstock.listeners._ordered._window import Item, Window
from penstock.position import BEGINNING, EntryId, Start
from penstock.streams.abc import RawEntry
from penstock.telemetry import LOGGER

__all__ = ["LaneReading", "lane_consumer"]

_BLOCK = timedelta(seconds=1)
_PAGE = 100
_GIVEN_BACK = timedelta(days=3650)
"""Idle for longer than any server has run: `StreamBroker.release` makes entries look like that."""


def lane_consumer(stream: str) -> str:
    """The consumer of a lane: the same for every owner. It names the stream, as a connection is one consumer's."""
    return f"lane:{stream}"


class LaneReading:
    """Fills the window of one lane."""

    def __init__(self, state: LaneState, window: Window, settling: LaneSettling) -> None:
        self._state = state
        self._window = window
        self._settling = settling
        settings = state.shared.settings
        self._is_keyed = settings.mode == "keyed"
        self._lanes = settings.concurrency if self._is_keyed else 1
        self._appetite = Appetite(
            byte_budget=settings.byte_budget, most=settings.max_batch, lanes=settings.concurrency
        )
        self._last = EntryId(0)
        """Everything up to here was delivered to the lane, and is settled or was taken in."""
        self._scan: EntryId | None = EntryId(0)
        """How far the lane's pending entries were looked through; ``None`` when there is nothing to look for."""
        self._are_suspect = True
        self._others_work = False
        self._last_read = 0.0
        self._last_total = 0
        self.caught_up = False
        """Whether the last read has found nothing more."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to take in now, or nobody who could use it."""
        return self.caught_up or not self._window.room or not self._is_hungry()

    # -- beginning ----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Make sure of the group, and take over what former consumers of it have left.

        Raises:
            UnknownGroupError: The group was deleted since we last had it, and the policy is to halt.
        """
        shared, stream, group = self._state.shared, self._state.stream, self._state.shared.group.name
        start = shared.settings.start
        if stream in shared.places and not await self._has_group():
            if shared.settings.on_missing == "halt":
                raise UnknownGroupError(stream, group)
            start = await self._after_settled()
            LOGGER.error("consumer group %r of stream %r was deleted; made again at %s", group, stream, start)
        await shared.broker.removal.register_groups(stream, [group])
        await shared.broker.create_group(stream, group, start)
        shared.places.setdefault(stream, None)
        await self._adopt()
        [info] = [each for each in await shared.broker.groups(stream) if each.name == group]
        self._last = info.last_delivered

    async def _has_group(self) -> bool:
        shared = self._state.shared
        try:
            groups = await shared.broker.groups(self._state.stream)
        except UnknownStreamError:
            return False
        return any(each.name == shared.group.name for each in groups)

    async def _after_settled(self) -> Start:
        shared, stream = self._state.shared, self._state.stream
        settled = shared.places[stream]
        try:
            last = (await shared.broker.info(stream)).last_id
        except UnknownStreamError:
            return BEGINNING
        # A stream that ends before what was settled is another one under the same name.
        return settled if settled is not None and settled <= last else BEGINNING

    async def _adopt(self) -> None:
        """Move to the lane what consumers hold who worked the group in parallel mode and are gone."""
        shared, stream, group = self._state.shared, self._state.stream, self._state.shared.group.name
        own, self._others_work = self._state.lane.consumer, False
        for consumer in await shared.broker.consumers(stream, group):
            if consumer.name == own or not consumer.pending:
                continue
            token = uuid.uuid4().hex
            if not await is_abandoned(shared.broker, group, consumer.name, token):
                self._others_work = True
                LOGGER.warning(
                    "consumer %r works %d entries of stream %r in group %r, which is ordered; "
                    "there is no order between them and ours until it has ended",
                    consumer.name,
                    consumer.pending,
                    stream,
                    group,
                )
                continue
            try:
                await shared.broker.remove_consumer(stream, group, consumer.name, heir=own)
            finally:
                await shared.broker.free_name(group, consumer.name, token=token)

    # -- reading ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the lane is quiet."""
        state, shared = self._state, self._state.shared
        backoff = Backoff(
            f"reading {state.stream} for {shared.group.name}",
            shared.clock,
            attempts=shared.reconnect_attempts,
            observer=shared.observer,
        )
        while not state.is_quiet:
            try:
                await self._read_once()
            except TransientError as failure:
                shared.paused_by = failure
                # What the lost answer held is pending with the lane.
                self._look_from(self._last if self._scan is None else self._scan)
                await backoff.wait(failure)
            else:
                if backoff.failures:
                    shared.paused_by = None
                backoff.succeeded()

    async def _read_once(self) -> None:
        if not self._window.room or not self._is_hungry():
            self._state.left.clear()
            await self._state.left.wait()
        elif self._scan is not None:
            await self._take_pending(self._scan)
        else:
            await self._read_new()

    def _is_hungry(self) -> bool:
        """Whether the handlers could soon use more than there is.

        Entries behind one that is at work are no use to the other handlers, so they do not count in keyed mode.
        """
        window = self._window
        if self._is_keyed:
            return window.ready + window.at_work < self._lanes + self._appetite.ahead
        return len(window) <= self._appetite.ahead

    async def _take_pending(self, after: EntryId) -> None:
        """Take up one page of what is pending with the lane: all of it before anything new."""
        state, shared = self._state, self._state.shared
        group, consumer, count = shared.group.name, state.lane.consumer, min(self._window.room, _PAGE)
        # Looked at first, for reading them makes them look freshly delivered.
        looked = await shared.broker.pending(
            state.stream, group, consumer=consumer, start=after.next(), count=count
        )
        given_back = {bytes(each.entry_id) for each in looked if each.idle > _GIVEN_BACK}
        entries = await shared.broker.own_pending(
            state.stream, group, consumer, after=bytes(after), count=count
        )
        if not entries:
            self._scan, self._are_suspect = None, False
            self._forget_settled()
            return
        self._scan = EntryId.parse(entries[-1][0])
        self._last = max(self._last, self._scan)
        for entry in entries:
            self._take(entry, is_suspect=self._are_suspect and entry[0] not in given_back)

    def _forget_settled(self) -> None:
        """What was tried of entries that others have settled meanwhile is of no interest any more."""
        tried, stream = self._state.shared.group.tried, self._state.stream
        for where in [each for each in tried if each[0] == stream and each[1] not in self._window]:
            del tried[where]

    async def _read_new(self) -> None:
        state, shared = self._state, self._state.shared
        now = shared.clock.monotonic()
        if self._last_total:
            self._appetite.took(now - self._last_read, self._last_total)
        free = max(0, self._lanes - self._window.at_work)
        count = min(self._window.room, self._appetite.next_count(free))
        read = await shared.broker.read_group(
            shared.group.name,
            state.lane.consumer,
            [state.stream],
            count=count,
            block=_BLOCK if self.caught_up else None,
        )
        self._last_read, self._last_total = shared.clock.monotonic(), 0
        entries = [entry for _, batch in read.batches for entry in batch]
        if not entries:
            await self._found_nothing()
            return
        self.caught_up = False
        shared.counts.delivered += len(entries)
        shared.progressed()
        self._last_total = len(entries)
        self._appetite.saw(entries)
        if shared.observer is not None:
            shared.observer.delivered(shared.group.name, state.stream, len(entries))
        await self._close_gap(EntryId.parse(entries[0][0]))
        for entry in entries:
            self._take(entry)
        self._last = EntryId.parse(entries[-1][0])

    async def _found_nothing(self) -> None:
        """Nothing new was there. Something that was handed over while nobody listened may be, all the same."""
        state = self._state
        if await state.shared.broker.range(state.stream, self._last.next(), count=1):
            self._look_from(self._last)
        elif self._others_work and not self._window and self._settling.is_idle:
            await self._adopt()
            self._look_from(EntryId(0))
        else:
            self.caught_up = True

    def _look_from(self, place: EntryId) -> None:
        self._scan, self.caught_up = place, False

    async def _close_gap(self, first: EntryId) -> None:
        """Take in what lies before a new entry and was handed to the lane's consumer, but not to us.

        A read of a former owner that was paused, or ours whose answer was lost, can have taken it.
        """
        state, shared = self._state, self._state.shared
        if first <= self._last.next() or not await shared.broker.range(
            state.stream, self._last.next(), first.previous(), count=1
        ):
            return
        after = self._last
        while True:
            entries = await shared.broker.own_pending(
                state.stream, shared.group.name, state.lane.consumer, after=bytes(after), count=_PAGE
            )
            for entry in entries:
                after = EntryId.parse(entry[0])
                if after >= first:
                    return
                self._take(entry)
            if not entries:
                return

    def _take(self, entry: RawEntry, *, is_suspect: bool = False) -> None:
        if self._window.take(self._item(entry, is_suspect=is_suspect)):
            self.caught_up = False
            self._state.came.set()

    def _item(self, entry: RawEntry, *, is_suspect: bool) -> Item:
        entry_id, fields = entry
        if fields is None:
            return Item(entry_id, None, "")
        try:
            message = self._state.shared.layout.read(self._state.stream, entry_id, fields)
        except UndecodableEntryError as failure:
            return Item(entry_id, fields, "", undecodable=failure)
        message.fence = self._state.lane.lease.fence
        turn = (message.key or "") if self._is_keyed else ""
        return Item(entry_id, fields, turn, message, is_suspect=is_suspect)
