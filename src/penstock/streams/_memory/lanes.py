"""Settling in order, in memory: under a lease, with lines of parked events."""

from collections.abc import Sequence

from penstock.position import EntryId
from penstock.streams._memory.failures import MemoryFailureStore
from penstock.streams._memory.group import Group
from penstock.streams._memory.leases import MemoryLeases
from penstock.streams._memory.ordered import entry_id_of, number_of
from penstock.streams._memory.records import FailedMessage, MessageKey, copied, moment
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import (
    Lane,
    ListenerFailure,
    Parked,
    ParkedEvent,
    ParkedKey,
    RawId,
    Settled,
    behind,
    check_in_place,
    check_lane,
)

__all__ = ["MemoryLanes"]

_WHOLE_MESSAGE = "*"


class MemoryLanes:
    """`LaneStore` in memory."""

    def __init__(
        self,
        streams: dict[str, Stream],
        leases: MemoryLeases,
        failures: MemoryFailureStore,
    ) -> None:
        self._streams = streams
        self._leases = leases
        self._failures = failures
        self._parking = failures.parking

    # -- settling -----------------------------------------------------------------------------------------------

    async def acknowledge(self, lane: Lane, entry_ids: Sequence[RawId]) -> int | None:
        """Settle entries as handled; how many were pending with us."""
        if not self._owns(lane):
            return None
        return sum(self._settle_if_ours(lane, entry_id) for entry_id in entry_ids)

    async def settle(
        self, lane: Lane, entry_id: RawId, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """Record failures and acknowledge, under the lease."""
        check_in_place(failures)
        if not self._owns(lane):
            return Settled.NOT_YOURS
        return await self._failures.settle(lane.stream, lane.group, lane.consumer, entry_id, fields, failures)

    async def begin_alone(self, lane: Lane, entry_id: RawId) -> int | None:
        """Count one handling alone, under the lease."""
        owner = self._group_of(lane) if self._owns(lane) else None
        return None if owner is None else owner.begin_alone(lane.consumer, entry_id)

    # -- parking ------------------------------------------------------------------------------------------------

    async def park(
        self,
        lane: Lane,
        key: str,
        entry_id: RawId,
        fields: Sequence[bytes],
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Put a failed event in the key's line, and acknowledge it."""
        check_in_place(failures)
        if not self._owns(lane) or not self._settle_if_ours(lane, entry_id):
            return Settled.NOT_YOURS
        place = lane.stream, lane.group, number_of(entry_id)
        self._failures.park(place, key, fields, failures)
        for failure in failures:
            self._message(place).records[failure.listener].attempts += 1
        return Settled.DONE

    async def join(self, lane: Lane, key: str, entry_id: RawId, fields: Sequence[bytes]) -> Parked:
        """Put a later event of a parked key in its line, and acknowledge it."""
        owner = self._group_of(lane)
        number = number_of(entry_id)
        if not self._owns(lane) or owner is None or owner.holds(number, lane.consumer) is None:
            return Parked.NOT_YOURS
        if self._parking.line(lane.stream, lane.group, key) is None:
            return Parked.OPEN
        owner.pending.pop(number)
        place = lane.stream, lane.group, number
        message = self._failures.message(place)
        if message is None or message.parked_key is None:
            self._failures.park(place, key, fields, [behind()])
        return Parked.DONE

    async def parked_keys(
        self, stream: str, group: str, *, after: str | None = None, count: int = 100
    ) -> list[ParkedKey]:
        """Keys with parked events, by key."""
        found: list[ParkedKey] = []
        for key, line in self._parking.lines(stream, group):
            if len(found) < count and (after is None or key > after):
                first = next(iter(line.numbers))
                record = next(iter(self._message((stream, group, first)).parked_records.values()))
                found.append(
                    ParkedKey(
                        stream=stream,
                        group=group,
                        key=key,
                        events=len(line.numbers),
                        since=moment(line.since_us),
                        first=entry_id_of(first),
                        error_type=record.failure.error_type,
                        error=record.failure.error,
                        unparking=line.is_unparking,
                    )
                )
        return found

    async def parked(
        self, stream: str, group: str, key: str, *, after: EntryId | None = None, count: int = 100
    ) -> list[ParkedEvent]:
        """What waits under a key, in order of arrival."""
        line = self._parking.line(stream, group, key)
        numbers = [] if line is None else list(line.numbers)
        if after is not None:
            numbers = _behind(numbers, number_of(after))
        return [self._shown(stream, group, number) for number in numbers[:count]]

    # -- unparking ----------------------------------------------------------------------------------------------

    async def unpark(self, stream: str, group: str, key: str) -> int:
        """Ask the owner to handle what waits under a key."""
        line = self._parking.line(stream, group, key)
        if line is None:
            return 0
        line.is_unparking = True
        return len(line.numbers)

    async def unparking(self, stream: str, group: str) -> list[str]:
        """The keys whose events the owner was asked to handle."""
        return [key for key, line in self._parking.lines(stream, group) if line.is_unparking]

    async def take_parked(self, lane: Lane, key: str) -> ParkedEvent | None:
        """The first event of a key that is being unparked, its attempts counted."""
        line = self._parking.line(lane.stream, lane.group, key)
        if not self._owns(lane) or line is None or not line.is_unparking:
            return None
        first = next(iter(line.numbers))
        for record in self._message((lane.stream, lane.group, first)).parked_records.values():
            record.attempts += 1
        return self._shown(lane.stream, lane.group, first)

    async def finish_parked(self, lane: Lane, key: str, entry_id: EntryId) -> Settled:
        """The first event was handled."""
        place = self._first(lane, key, entry_id)
        if place is None:
            return Settled.NOT_YOURS
        self._failures.discard(place)
        return Settled.DONE

    async def fail_parked(
        self, lane: Lane, key: str, entry_id: EntryId, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """The first event failed again."""
        check_in_place(failures)
        place = self._first(lane, key, entry_id)
        if place is None:
            return Settled.NOT_YOURS
        message = self._message(place)
        attempts, before = _attempts(message), message.parked_records
        self._failures.park(place, key, None, failures)
        listeners = [failure.listener for failure in failures]
        for listener in listeners:
            if listener not in before:
                message.records[listener].attempts = attempts
        self._failures.discard(place, but=listeners)
        line = self._parking.line(lane.stream, lane.group, key)
        assert line is not None
        line.is_unparking = False
        return Settled.DONE

    async def discard_parked(self, stream: str, group: str, key: str, entry_id: EntryId | None = None) -> int:
        """Remove one parked event, or all of a key, with their records."""
        line = self._parking.line(stream, group, key)
        numbers = [] if line is None else list(line.numbers)
        if entry_id is not None:
            numbers = [number for number in numbers if number == number_of(entry_id)]
        for number in numbers:
            self._failures.discard((stream, group, number))
        return len(numbers)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _owns(self, lane: Lane) -> bool:
        check_lane(lane)
        return self._leases.holds(lane.lease)

    def _group_of(self, lane: Lane) -> Group | None:
        place = self._streams.get(lane.stream)
        return None if place is None else place.groups.get(lane.group)

    def _settle_if_ours(self, lane: Lane, entry_id: RawId) -> bool:
        owner, number = self._group_of(lane), number_of(entry_id)
        if owner is None or owner.holds(number, lane.consumer) is None:
            return False
        owner.pending.pop(number)
        return True

    def _message(self, place: MessageKey) -> FailedMessage:
        message = self._failures.message(place)
        assert message is not None
        return message

    def _first(self, lane: Lane, key: str, entry_id: EntryId) -> MessageKey | None:
        line = self._parking.line(lane.stream, lane.group, key)
        if not self._owns(lane) or line is None or next(iter(line.numbers)) != number_of(entry_id):
            return None
        return lane.stream, lane.group, number_of(entry_id)

    def _shown(self, stream: str, group: str, number: int) -> ParkedEvent:
        message = self._message((stream, group, number))
        listeners = tuple(message.parked_records)
        return ParkedEvent(
            entry_id=entry_id_of(number),
            attempts=_attempts(message),
            fields=copied(message.fields),
            listeners=() if _WHOLE_MESSAGE in listeners else listeners,
        )


def _attempts(message: FailedMessage) -> int:
    return max(record.attempts for record in message.parked_records.values())


def _behind(numbers: list[int], after: int) -> list[int]:
    """What comes behind one that is there, or that has gone from the front meanwhile."""
    if after in numbers:
        return numbers[numbers.index(after) + 1 :]
    first = next((at for at, number in enumerate(numbers) if number > after), len(numbers))
    return numbers[first:]
