"""Settling under a lease: acknowledgements gathered for up to 20 ms, outcomes recorded, all in the order they came."""

import asyncio
import functools
from collections.abc import Sequence

from penstock.errors import UndecodableEntryError
from penstock.listeners._handling import failure_of
from penstock.listeners._ordered._shared import LaneState
from penstock.listeners._ordered._window import Item
from penstock.listeners._settling import log_failure
from penstock.position import EntryId
from penstock.streams.abc import ListenerFailure, Parked, RawId, Settled

__all__ = ["LaneSettling"]

_ACKNOWLEDGE_WITHIN_SECONDS = 0.020
_MOST_AT_ONCE = 1000
"""How many acknowledgements one script takes."""


class LaneSettling:
    """Turns outcomes into what the server keeps, as long as it says that the lane is ours."""

    def __init__(self, state: LaneState) -> None:
        self._state = state
        self._done: list[RawId] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self.settled_up_to: EntryId | None = None
        """The highest entry that was settled here."""

    # -- handled ------------------------------------------------------------------------------------------------

    def handled(self, entry_id: RawId) -> None:
        """An entry was handled: its acknowledgement is sent soon, behind those before it."""
        if not self._done:
            self._timer = asyncio.get_running_loop().call_later(_ACKNOWLEDGE_WITHIN_SECONDS, self._due.set)
        self._done.append(entry_id)

    @property
    def is_idle(self) -> bool:
        """Whether no acknowledgement waits to be sent or answered."""
        return not self._done

    @property
    def unsent(self) -> EntryId | None:
        """The lowest entry whose acknowledgement was not answered yet."""
        return min((EntryId.parse(entry_id) for entry_id in self._done), default=None)

    async def run(self) -> None:
        """Send acknowledgements when they are due, for ever."""
        while True:
            await self._due.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send every acknowledgement that waits, now."""
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        state, shared = self._state, self._state.shared
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._done and not state.lost.is_set():
            batch = self._done[:_MOST_AT_ONCE]
            count = await shared.insist(
                "acknowledging", functools.partial(shared.broker.lanes.acknowledge, state.lane, batch)
            )
            if count is None:
                self._lost(len(self._done))
                return
            del self._done[: len(batch)]
            shared.counts.handled += count
            shared.progressed()
            self._settled(batch[-1])
            shared.handling.speeds.settled(state.stream, count)
            if shared.after is not None:
                shared.after.note(state.stream, batch)
            if shared.observer is not None:
                shared.observer.acknowledged(shared.group.name, state.stream, count)
            if count < len(batch):
                self._count_lost(len(batch) - count)

    async def acknowledge_now(self, item: Item) -> bool:
        """Settle one entry before its handler has ended, and wait for the answer."""
        if item.is_settled:
            return True
        item.is_settled = True
        self.handled(item.entry_id)
        await self.flush()
        return not self._state.lost.is_set()

    # -- not handled --------------------------------------------------------------------------------------------

    async def record(
        self, item: Item, failures: Sequence[ListenerFailure], errors: Sequence[BaseException] = ()
    ) -> None:
        """Write failure records, then acknowledge: one script."""
        state, shared = self._state, self._state.shared
        async with self._turn:
            await self._flush()
            settled = await shared.insist(
                "recording a failure",
                lambda: shared.broker.lanes.settle(state.lane, item.entry_id, item.fields, failures),
            )
        if self._is_done(item, settled):
            shared.counts.failed += 1
            self.log(item, failures, errors)

    async def park(
        self, item: Item, failures: Sequence[ListenerFailure], errors: Sequence[BaseException]
    ) -> None:
        """Put the event aside under its key: later ones of the key join it."""
        state, shared = self._state, self._state.shared
        fields = item.fields or []
        async with self._turn:
            await self._flush()
            state.parked.add(item.key)
            settled = await shared.insist(
                "parking",
                lambda: shared.broker.lanes.park(state.lane, item.key, item.entry_id, fields, failures),
            )
        if self._is_done(item, settled):
            shared.counts.failed += 1
            self.log(item, failures, errors)

    async def join(self, item: Item) -> bool:
        """Put the event behind those that are parked under its key; False if there are none any more."""
        state, shared = self._state, self._state.shared
        fields = item.fields or []
        async with self._turn:
            await self._flush()
            answer = await shared.insist(
                "parking", lambda: shared.broker.lanes.join(state.lane, item.key, item.entry_id, fields)
            )
        if answer is Parked.OPEN:
            state.parked.discard(item.key)
            return False
        self._is_done(item, Settled.DONE if answer is Parked.DONE else Settled.NOT_YOURS)
        return True

    async def undecodable(self, item: Item, failure: UndecodableEntryError) -> None:
        """Record an entry that is no message."""
        await self.record(item, [failure_of("*", failure, None, cause="undecodable")], [failure])

    async def vanished(self, item: Item) -> None:
        """Record an entry that is pending and gone from the stream."""
        text = "the entry was deleted from its stream before the group had handled it"
        await self.record(item, [ListenerFailure("*", "vanished", "penstock.Vanished", text, "", None)])

    # -- telling ------------------------------------------------------------------------------------------------

    def log(self, item: Item, failures: Sequence[ListenerFailure], errors: Sequence[BaseException]) -> None:
        """Tell of failures: one structured line each, and the observer."""
        state, shared = self._state, self._state.shared
        name = item.message.name if item.message is not None else ""
        attempt = item.message.attempt if item.message is not None else 1
        for number, failure in enumerate(failures):
            error = errors[number] if number < len(errors) else None
            log_failure(shared.group.name, state.stream, item.entry_id.decode(), name, failure, error)
            if shared.observer is not None and error is not None:
                shared.observer.failed(shared.group.name, state.stream, failure.listener, error, attempt)

    def _is_done(self, item: Item, settled: Settled) -> bool:
        if settled is Settled.NOT_YOURS:
            self._lost(1)
            return False
        shared = self._state.shared
        shared.progressed()
        self._settled(item.entry_id)
        shared.handling.speeds.settled(self._state.stream, 1)
        return True

    def _settled(self, entry_id: RawId) -> None:
        place = EntryId.parse(entry_id)
        if self.settled_up_to is None or place > self.settled_up_to:
            self.settled_up_to = place

    def _lost(self, count: int) -> None:
        # Either the lease is gone, or someone has settled by hand: in both cases what we know is no longer true.
        self._count_lost(count)
        self._state.lost.set()

    def _count_lost(self, count: int) -> None:
        shared = self._state.shared
        shared.counts.lost += count
        if shared.observer is not None:
            shared.observer.lost(shared.group.name, self._state.stream, count)
