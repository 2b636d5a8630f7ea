"""Failure records in memory: what is kept of one failed message, and where parked ones stand in line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from penstock.streams._memory.ordered import number_of
from penstock.streams.abc import Edit, FailureKey, FailureRecord, FailureState, ListenerFailure

__all__ = ["FailedMessage", "MessageKey", "Parking", "Record", "copied", "message_key", "moment", "shown"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

MessageKey = tuple[str, str, int]
"""Stream, group and the entry id's number."""


@dataclass(slots=True)
class Record:
    """One listener's record, times in microseconds. `due_us` is set exactly when the state is retrying."""

    failure: ListenerFailure
    attempts: int
    first_us: int
    last_us: int
    due_us: int | None
    token: str | None = None
    parked: bool = False

    @property
    def state(self) -> FailureState:
        """Where it stands."""
        if self.parked:
            return FailureState.PARKED
        return FailureState.FAILED if self.due_us is None else FailureState.RETRYING

    def held(self, now_us: int) -> bool:
        """Whether someone runs it at this moment."""
        return self.token is not None and self.due_us is not None and self.due_us > now_us


@dataclass(slots=True)
class FailedMessage:
    """The payload, once, and a record for each listener; `parked_key` while it stands in line.

    `original` is the first payload, once it has been edited.
    """

    fields: list[bytes] | None
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    parked_key: str | None = None
    original: list[bytes] | None = None
    edits: tuple[Edit, ...] = ()

    @property
    def parked_records(self) -> dict[str, Record]:
        """The records that are parked, by listener."""
        return {listener: record for listener, record in sorted(self.records.items()) if record.parked}


@dataclass(slots=True)
class _Line:
    """The events that wait under one key, in order of arrival, by their numbers."""

    since_us: int
    numbers: dict[int, None] = field(default_factory=dict[int, None])
    is_unparking: bool = False


class Parking:
    """The lines of every group: which keys are parked, and what waits under them."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], dict[str, _Line]] = {}

    def line(self, stream: str, group: str, key: str) -> _Line | None:
        """What waits under a key; ``None`` when the key is open."""
        return self._lines.get((stream, group), {}).get(key)

    def lines(self, stream: str, group: str) -> Iterator[tuple[str, _Line]]:
        """Every parked key of a group, sorted."""
        yield from sorted(self._lines.get((stream, group), {}).items(), key=lambda item: item[0])

    def add(self, message: MessageKey, key: str, now_us: int) -> None:
        """Put an event at the end of a key's line."""
        stream, group, number = message
        line = self._lines.setdefault((stream, group), {}).setdefault(key, _Line(now_us))
        line.numbers.setdefault(number)

    def remove(self, message: MessageKey, key: str) -> None:
        """Take an event out of a key's line; the key is open again with its last one."""
        stream, group, number = message
        lines = self._lines[stream, group]
        del lines[key].numbers[number]
        if not lines[key].numbers:
            del lines[key]

    def forget_stream(self, stream: str) -> None:
        """Drop the lines of a stream that is being removed."""
        for place in [place for place in self._lines if place[0] == stream]:
            del self._lines[place]


def message_key(key: FailureKey) -> MessageKey:
    """The message that a record is about."""
    return key.stream, key.group, number_of(key.entry_id)


def copied(fields: Sequence[bytes] | None) -> list[bytes] | None:
    """Fields that nobody else can change."""
    return None if fields is None else list(fields)


def moment(time_us: int) -> datetime:
    """A time of the clock as a value."""
    return _EPOCH + time_us * _US


def shown(
    key: FailureKey, message: FailedMessage, record: Record, fields: list[bytes] | None
) -> FailureRecord:
    """A record as the contract has it."""
    failure = record.failure
    return FailureRecord(
        key=key,
        state=record.state,
        cause=failure.cause,
        error_type=failure.error_type,
        error=failure.error,
        traceback=failure.traceback,
        attempts=record.attempts,
        first_failed=moment(record.first_us),
        last_failed=moment(record.last_us),
        due=None if record.due_us is None else moment(record.due_us),
        parked_key=message.parked_key if record.parked else None,
        fields=fields,
        original=None if fields is None else copied(message.original),
        edits=message.edits,
    )
