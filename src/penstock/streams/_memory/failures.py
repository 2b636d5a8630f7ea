"""Records of failed messages in memory, with the same moves as the server's scripts.

A record that runs is *held*: it has a token and its due time lies ahead. Everything a running retry writes is
checked against that token, so one that was deleted or taken over meanwhile changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._memory.ordered import entry_id_of, number_of
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import (
    DueRetry,
    FailureKey,
    FailureRecord,
    FailureState,
    ListenerFailure,
    RawId,
    RetryClaim,
    Settled,
    Tally,
)

__all__ = ["MemoryFailureStore"]

_WHOLE_MESSAGE = "*"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(slots=True)
class _Record:
    """One listener's record, times in microseconds. `due_us` is ``None`` exactly when the state is failed."""

    failure: ListenerFailure
    attempts: int
    first_us: int
    last_us: int
    due_us: int | None
    token: str | None = None

    @property
    def state(self) -> FailureState:
        """Where it stands."""
        return FailureState.FAILED if self.due_us is None else FailureState.RETRYING

    def held(self, now_us: int) -> bool:
        """Whether someone runs it at this moment."""
        return self.token is not None and self.due_us is not None and self.due_us > now_us


@dataclass(slots=True)
class _FailedMessage:
    """The payload, once, and a record for each listener."""

    fields: list[bytes] | None
    records: dict[str, _Record] = field(default_factory=dict)


_MessageKey = tuple[str, str, int]
"""Stream, group and the entry id's number."""


def _message_key(key: FailureKey) -> _MessageKey:
    return key.stream, key.group, number_of(key.entry_id)


class MemoryFailureStore:
    """The `FailureStore` of `MemoryBroker`."""

    def __init__(self, streams: dict[str, Stream], time_us: Callable[[], int]) -> None:
        self._streams = streams
        self._time_us = time_us
        self._messages: dict[_MessageKey, _FailedMessage] = {}
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
        if message is None or record is None or record.held(now_us):
            return None
        if not force:
            if record.due_us is None or record.due_us > now_us:
                return None
            if record.attempts >= max_attempts:
                record.due_us = record.token = None
                return None
        record.attempts += 1
        record.token, record.due_us = token, now_us + visibility // _US
        return RetryClaim(key, token, record.attempts, _copied(message.fields))

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
        fields = message.fields
        self._remove(claim.key)
        self._write(_message_key(claim.key), fields, failures)
        return Settled.DONE

    async def return_retry(self, claim: RetryClaim) -> Settled:
        """Make the retry due at once, its attempt not counted."""
        record = self._claimed(claim)
        if record is None:
            return Settled.NOT_YOURS
        record.attempts -= 1
        record.token, record.due_us = None, self._time_us()
        return Settled.DONE

    async def get(self, key: FailureKey) -> FailureRecord | None:
        """One record with its payload."""
        message, record = self._find(key)
        return None if message is None or record is None else _shown(key, record, _copied(message.fields))

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
            ((record.last_us, key, record) for key, record in self._records() if key.stream == stream),
            key=lambda item: item[:2],
        )
        if after is not None:
            found = [item for item in found if item[:2] > (self._page_end_us(after), after)]
        matching = [
            (last_us, key, record)
            for last_us, key, record in found
            if group in (None, key.group)
            and state in (None, record.state)
            and entry_id in (None, key.entry_id)
            and listener in (None, key.listener)
        ][:count]
        if matching:
            last_us, key, _ = matching[-1]
            self._page_ends[key] = last_us
        return [_shown(key, record, None) for _, key, record in matching]

    async def tally(self, stream: str) -> list[Tally]:
        """Counts by group and state."""
        counts: dict[str, list[int]] = {}
        for key, record in self._records():
            if key.stream == stream:
                counts.setdefault(key.group, [0, 0])[record.due_us is None] += 1
        return [
            Tally(stream, group, retrying, failed) for group, (retrying, failed) in sorted(counts.items())
        ]

    async def delete(self, key: FailureKey) -> bool:
        """Forget one record."""
        if self._find(key)[1] is None:
            return False
        self._remove(key)
        return True

    def forget_stream(self, stream: str) -> None:
        """Drop everything kept about a stream that is being removed."""
        for key in [key for key in self._messages if key[0] == stream]:
            del self._messages[key]
        for end in [end for end in self._page_ends if end.stream == stream]:
            del self._page_ends[end]

    def _write(
        self, message_key: _MessageKey, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> None:
        if not failures:
            return
        now_us = self._time_us()
        message = self._messages.setdefault(message_key, _FailedMessage(None))
        if message.fields is None:
            message.fields = _copied(fields)
        for failure in failures:
            due_us = None if failure.due_in is None else now_us + failure.due_in // _US
            record = message.records.get(failure.listener)
            if record is None:
                message.records[failure.listener] = _Record(failure, 1, now_us, now_us, due_us)
                continue
            record.attempts += 1
            record.last_us = now_us
            # While a retry runs, what comes of it is the business of whoever holds the token.
            if not record.held(now_us):
                record.failure, record.due_us, record.token = failure, due_us, None

    def _find(self, key: FailureKey) -> tuple[_FailedMessage | None, _Record | None]:
        message = self._messages.get(_message_key(key))
        return message, None if message is None else message.records.get(key.listener)

    def _page_end_us(self, key: FailureKey) -> int:
        if key in self._page_ends:
            return self._page_ends[key]
        _, record = self._find(key)
        return 0 if record is None else record.last_us

    def _claimed(self, claim: RetryClaim) -> _Record | None:
        _, record = self._find(claim.key)
        return record if record is not None and record.token == claim.token else None

    def _remove(self, key: FailureKey) -> None:
        message = self._messages[_message_key(key)]
        del message.records[key.listener]
        if not message.records:
            del self._messages[_message_key(key)]

    def _records(self) -> Iterator[tuple[FailureKey, _Record]]:
        for (stream, group, number), message in self._messages.items():
            for listener, record in message.records.items():
                yield FailureKey(stream, group, entry_id_of(number), listener), record

    def _waiting(self, groups: Sequence[tuple[str, str]]) -> Iterator[tuple[int, FailureKey]]:
        """Due times of what is retrying in *groups*."""
        wanted = frozenset(groups)
        for key, record in self._records():
            if record.due_us is not None and (key.stream, key.group) in wanted:
                yield record.due_us, key


def _copied(fields: Sequence[bytes] | None) -> list[bytes] | None:
    return None if fields is None else list(fields)


def _moment(time_us: int) -> datetime:
    return _EPOCH + time_us * _US


def _shown(key: FailureKey, record: _Record, fields: list[bytes] | None) -> FailureRecord:
    failure = record.failure
    return FailureRecord(
        key=key,
        state=record.state,
        cause=failure.cause,
        error_type=failure.error_type,
        error=failure.error,
        traceback=failure.traceback,
        attempts=record.attempts,
        first_failed=_moment(record.first_us),
        last_failed=_moment(record.last_us),
        due=None if record.due_us is None else _moment(record.due_us),
        fields=fields,
    )
