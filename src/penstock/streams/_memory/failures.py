"""Records of failed messages in memory, with the same moves as the server's scripts.

A record that runs is *held*: it has a token and its due time lies ahead. Everything a running retry writes is
checked against that token, so one that was deleted or taken over meanwhile changes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._memory.ordered import entry_id_of, number_of
from penstock.streams._memory.records import (
    FailedMessage,
    MessageKey,
    Parking,
    Record,
    copied,
    message_key,
    moment,
    shown,
)
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import (
    MOST_EDITS,
    DueRetry,
    Edit,
    Edited,
    FailureKey,
    FailureRecord,
    FailureState,
    ListenerFailure,
    RawId,
    RetryClaim,
    Settled,
    Tally,
    restored,
)

__all__ = ["MemoryFailureStore"]

_WHOLE_MESSAGE = "*"
_US = timedelta(microseconds=1)
_TALLIED = (FailureState.RETRYING, FailureState.FAILED, FailureState.PARKED)


class MemoryFailureStore:
    """The `FailureStore` of `MemoryBroker`."""

    def __init__(self, streams: dict[str, Stream], time_us: Callable[[], int]) -> None:
        self._streams = streams
        self._time_us = time_us
        self._messages: dict[MessageKey, FailedMessage] = {}
        self.parking = Parking()
        """Where parked messages stand in line."""
        # Where pages of `find` ended: the last record may be gone or have failed again when the next is asked for.
        self._page_ends: dict[FailureKey, int] = {}

    async def settle(
        self,
        stream: str,
        group: str,
        consumer: str,
        entry_id: RawId,
        fields: Sequence[bytes] | None,
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Record the failures of one pending entry, then acknowledge it, if it is pending with *consumer*."""
        if not failures:
            raise UsageError(
                "settling as failed needs at least one failure; acknowledge an entry that has none"
            )
        number = number_of(entry_id)
        owner = self._streams[stream].groups.get(group) if stream in self._streams else None
        if owner is None or owner.holds(number, consumer) is None:
            return Settled.NOT_YOURS
        self._write((stream, group, number), fields, failures)
        owner.pending.pop(number)
        return Settled.DONE

    async def settle_vanished(self, stream: str, group: str, entry_id: RawId) -> Settled:
        """Record and acknowledge an entry that is pending with anyone but gone from the stream."""
        number = number_of(entry_id)
        place = self._streams.get(stream)
        owner = place.groups.get(group) if place is not None else None
        if place is None or owner is None or number not in owner.pending or number in place.entries:
            return Settled.NOT_YOURS
        vanished = ListenerFailure(
            listener=_WHOLE_MESSAGE,
            cause="vanished",
            error_type="",
            error="the entry was removed from the stream while it was pending",
            traceback="",
            due_in=None,
        )
        self._write((stream, group, number), None, [vanished])
        owner.pending.pop(number)
        return Settled.DONE

    async def enqueue(
        self, stream: str, group: str, entry_id: EntryId, fields: Sequence[bytes], *, listener: str = "*"
    ) -> bool:
        """Put a record that is due at once, unless there is one."""
        key = FailureKey(stream, group, entry_id, listener)
        if self._find(key)[1] is not None:
            return False
        self._write(message_key(key), fields, [restored(listener)])
        self._messages[message_key(key)].records[listener].attempts = 0
        return True

    async def due(self, groups: Sequence[tuple[str, str]], *, count: int) -> list[DueRetry]:
        """Retries due now, oldest first, at most *count* for each (stream, group)."""
        now_us = self._time_us()
        found: list[tuple[int, FailureKey]] = []
        for group in dict.fromkeys(groups):
            ready = [(due_us, key) for due_us, key in self._waiting([group]) if due_us <= now_us]
            found += sorted(ready)[:count]
        return [DueRetry(key) for _, key in sorted(found)]

    async def next_due(self, groups: Sequence[tuple[str, str]]) -> timedelta | None:
        """How long until the earliest retry is due."""
        earliest = min((due_us for due_us, _ in self._waiting(groups)), default=None)
        return None if earliest is None else max(0, earliest - self._time_us()) * _US

    async def claim_retry(
        self, key: FailureKey, *, token: str, visibility: timedelta, max_attempts: int, force: bool = False
    ) -> RetryClaim | None:
        """Take a due retry and count the attempt; one whose attempts are used up becomes failed instead."""
        if not token:
            raise UsageError("claiming a retry needs a token")
        message, record = self._find(key)
        now_us = self._time_us()
        if message is None or record is None or record.parked or record.held(now_us):
            return None
        if not force:
            if record.due_us is None or record.due_us > now_us:
                return None
            if record.attempts >= max_attempts:
                record.due_us = record.token = None
                return None
        record.attempts += 1
        record.token, record.due_us = token, now_us + visibility // _US
        return RetryClaim(key, token, record.attempts, copied(message.fields))

    async def extend_retry(self, claim: RetryClaim, *, visibility: timedelta) -> Settled:
        """Hide a claimed retry for *visibility* from now."""
        record = self._claimed(claim)
        if record is None:
            return Settled.NOT_YOURS
        record.due_us = self._time_us() + visibility // _US
        return Settled.DONE

    async def succeed_retry(self, claim: RetryClaim) -> Settled:
        """Remove the record."""
        if self._claimed(claim) is None:
            return Settled.NOT_YOURS
        self._remove(claim.key)
        return Settled.DONE

    async def fail_retry(self, claim: RetryClaim, failure: ListenerFailure) -> Settled:
        """Write the new error; due again, or failed."""
        record = self._claimed(claim)
        if record is None:
            return Settled.NOT_YOURS
        now_us = self._time_us()
        record.failure = replace(failure, listener=claim.key.listener)
        record.last_us, record.token = now_us, None
        record.due_us = None if failure.due_in is None else now_us + failure.due_in // _US
        return Settled.DONE

    async def split_retry(self, claim: RetryClaim, failures: Sequence[ListenerFailure]) -> Settled:
        """Put the listeners that failed in place of the whole message's record."""
        message, _ = self._find(claim.key)
        if message is None or self._claimed(claim) is None:
            return Settled.NOT_YOURS
        self._write(message_key(claim.key), message.fields, failures)
        self._remove(claim.key)
        return Settled.DONE

    async def return_retry(self, claim: RetryClaim) -> Settled:
        """Make the retry due at once, its attempt not counted."""
        record = self._claimed(claim)
        if record is None:
            return Settled.NOT_YOURS
        record.attempts -= 1
        record.token, record.due_us = None, self._time_us()
        return Settled.DONE

    async def edit(self, key: FailureKey, fields: Sequence[bytes], *, who: str, why: str) -> Edited:
        """Replace the payload that a failed message is run with, and keep the first one."""
        message, record = self._find(key)
        now_us = self._time_us()
        if message is None or record is None:
            return Edited.GONE
        if message.fields is None:
            return Edited.EMPTY
        if self._runs(message_key(key), message, now_us):
            return Edited.BUSY
        if message.original is None:
            message.original = message.fields
        message.fields = list(fields)
        # Whole milliseconds, as a server would have it.
        edit = Edit(who, why, moment(now_us // 1000 * 1000))
        message.edits = (*message.edits, edit)[-MOST_EDITS:]
        return Edited.DONE

    async def get(self, key: FailureKey) -> FailureRecord | None:
        """One record with its payload, and the original one."""
        message, record = self._find(key)
        return (
            None if message is None or record is None else shown(key, message, record, copied(message.fields))
        )

    async def find(
        self,
        stream: str,
        group: str | None = None,
        *,
        state: FailureState | None = None,
        entry_id: EntryId | None = None,
        listener: str | None = None,
        after: FailureKey | None = None,
        count: int = 100,
    ) -> list[FailureRecord]:
        """Matching records without payloads, oldest last failure first, from behind *after*."""
        found = sorted(
            ((record.last_us, key, message, record) for key, message, record in self._records(stream)),
            key=lambda item: item[:2],
        )
        if after is not None:
            found = [item for item in found if item[:2] > (self._page_end_us(after), after)]
        matching = [
            (last_us, key, message, record)
            for last_us, key, message, record in found
            if group in (None, key.group)
            and state in (None, record.state)
            and entry_id in (None, key.entry_id)
            and listener in (None, key.listener)
        ][:count]
        if matching:
            last_us, key, _, _ = matching[-1]
            self._page_ends[key] = last_us
        return [shown(key, message, record, None) for _, key, message, record in matching]

    async def groups_of(self, stream: str, entry_id: EntryId) -> list[str]:
        """The groups that have a record of this entry."""
        return sorted({key.group for key, _, _ in self._records(stream) if key.entry_id == entry_id})

    async def tally(self, stream: str) -> list[Tally]:
        """Counts by group and state."""
        counts: dict[str, dict[FailureState, int]] = {}
        for key, _, record in self._records(stream):
            counts.setdefault(key.group, dict.fromkeys(FailureState, 0))[record.state] += 1
        return [
            Tally(stream, group, *(of_group[state] for state in _TALLIED))
            for group, of_group in sorted(counts.items())
        ]

    async def delete(self, key: FailureKey) -> bool:
        """Forget one record; a parked event leaves its line with its last one."""
        if self._find(key)[1] is None:
            return False
        self._remove(key)
        return True

    def forget_stream(self, stream: str) -> None:
        """Drop everything kept about a stream that is being removed."""
        for key in [key for key in self._messages if key[0] == stream]:
            del self._messages[key]
        self.parking.forget_stream(stream)
        for end in [end for end in self._page_ends if end.stream == stream]:
            del self._page_ends[end]

    # -- parked messages, for `MemoryLanes` ---------------------------------------------------------------------

    def message(self, place: MessageKey) -> FailedMessage | None:
        """What is kept of a failed message."""
        return self._messages.get(place)

    def park(
        self, place: MessageKey, key: str, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> None:
        """Record failures as parked, and put the message in the key's line unless it stands in one."""
        now_us = self._time_us()
        message = self._kept(place, fields)
        for failure in failures:
            record = message.records.setdefault(failure.listener, Record(failure, 0, now_us, now_us, None))
            record.failure, record.last_us, record.parked = failure, now_us, True
            record.due_us = record.token = None
        if message.parked_key is None:
            message.parked_key = key
            self.parking.add(place, key, now_us)

    def discard(self, place: MessageKey, *, but: Collection[str] = ()) -> None:
        """Remove the parked records of a message but those of some listeners; with its last one it leaves its line."""
        message = self._messages[place]
        for listener in message.parked_records.keys() - set(but):
            self._remove_record(place, listener)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _write(
        self, place: MessageKey, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> None:
        if not failures:
            return
        now_us = self._time_us()
        message = self._kept(place, fields)
        for failure in failures:
            due_us = None if failure.due_in is None else now_us + failure.due_in // _US
            record = message.records.get(failure.listener)
            if record is None:
                message.records[failure.listener] = Record(failure, 1, now_us, now_us, due_us)
                continue
            record.attempts += 1
            record.last_us = now_us
            # While a retry runs, what comes of it is the business of whoever holds the token; and what is parked stays.
            if record.parked:
                record.failure = failure
            elif not record.held(now_us):
                record.failure, record.due_us, record.token = failure, due_us, None

    def _runs(self, place: MessageKey, message: FailedMessage, now_us: int) -> bool:
        """Whether somebody runs a message, or may do so since its key is being unparked."""
        stream, group, _ = place
        line = None if message.parked_key is None else self.parking.line(stream, group, message.parked_key)
        return (line is not None and line.is_unparking) or any(
            record.held(now_us) for record in message.records.values()
        )

    def _kept(self, place: MessageKey, fields: Sequence[bytes] | None) -> FailedMessage:
        message = self._messages.setdefault(place, FailedMessage(None))
        if message.fields is None:
            message.fields = copied(fields)
        return message

    def _find(self, key: FailureKey) -> tuple[FailedMessage | None, Record | None]:
        message = self._messages.get(message_key(key))
        return message, None if message is None else message.records.get(key.listener)

    def _page_end_us(self, key: FailureKey) -> int:
        if key in self._page_ends:
            return self._page_ends[key]
        _, record = self._find(key)
        return 0 if record is None else record.last_us

    def _claimed(self, claim: RetryClaim) -> Record | None:
        _, record = self._find(claim.key)
        return record if record is not None and record.token == claim.token else None

    def _remove(self, key: FailureKey) -> None:
        self._remove_record(message_key(key), key.listener)

    def _remove_record(self, place: MessageKey, listener: str) -> None:
        message = self._messages[place]
        del message.records[listener]
        if message.parked_key is not None and not message.parked_records:
            self.parking.remove(place, message.parked_key)
            message.parked_key = None
        if not message.records:
            del self._messages[place]

    def _records(self, wanted: str | None = None) -> Iterator[tuple[FailureKey, FailedMessage, Record]]:
        for (stream, group, number), message in self._messages.items():
            if wanted in (None, stream):
                for listener, record in message.records.items():
                    yield FailureKey(stream, group, entry_id_of(number), listener), message, record

    def _waiting(self, groups: Sequence[tuple[str, str]]) -> Iterator[tuple[int, FailureKey]]:
        """Due times of what is retrying in *groups*."""
        wanted = frozenset(groups)
        for key, _, record in self._records():
            if record.due_us is not None and (key.stream, key.group) in wanted:
                yield record.due_us, key
