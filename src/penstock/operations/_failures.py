"""Failed messages: finding them, running them again, forgetting them.

A command may meet any number of records, so they are read in pages and merged by the time of their last failure; no
command holds all of them. A pass touches only records whose last failure lies before its start: one that fails again
while it runs is not met a second time.
"""

import base64
import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from penstock.errors import UnknownStreamError, UsageError
from penstock.operations._scope import Place, Scope
from penstock.operations._values import EntryView, FailedDetail, FailedMessage, FailedPage
from penstock.operations._views import view_of
from penstock.position import EntryId
from penstock.streams.abc import FailureKey, FailureRecord, FailureState, StreamBroker
from penstock.streams.layouts import EntryReader

__all__ = ["FailedWhich", "Found", "details", "failed_page", "records", "shown", "times"]

_PAGE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FailedWhich:
    """Which failure records: those that match everything given. Nothing given: all."""

    entry_id: EntryId | None = None
    stream: str | None = None
    group: str | None = None
    listener: str | None = None
    state: Literal["retrying", "failed", "parked"] | None = None
    error: str | None = None
    """A text that occurs in the error's type or message, in any case."""
    since: datetime | None = None
    """Last failed at that time or later."""
    until: datetime | None = None
    """Last failed at that time or earlier."""
    pool: str | None = None
    projection: str | None = None
    """Only failures of that projection or relay; ``None``: those of consumer groups, too."""

    @property
    def is_everything(self) -> bool:
        """Whether no record is excluded."""
        return self == FailedWhich()

    def matches(self, record: FailureRecord) -> bool:
        """Whether a record is meant, as far as the server was not asked for it already."""
        if self.since is not None and record.last_failed < self.since:
            return False
        return self.error is None or self.error.lower() in f"{record.error_type}: {record.error}".lower()


@dataclass(frozen=True, slots=True)
class Found:
    """A record with the server that keeps it."""

    place: Place
    broker: StreamBroker
    record: FailureRecord


@dataclass
class _Pager:
    """The matching records of one stream, one page in memory at a time."""

    place: Place
    broker: StreamBroker
    which: FailedWhich
    until: datetime | None
    after: FailureKey | None
    size: int
    waiting: list[FailureRecord] = field(default_factory=list[FailureRecord])
    is_over: bool = False

    async def next(self) -> FailureRecord | None:
        while not self.waiting and not self.is_over:
            page = await self.broker.failures.find(
                self.place.stream,
                self.which.group,
                state=None if self.which.state is None else FailureState(self.which.state),
                entry_id=self.which.entry_id,
                listener=self.which.listener,
                after=self.after,
                count=self.size,
            )
            if page:
                self.after = page[-1].key
            self.is_over = len(page) < self.size
            for record in page:
                if self.until is not None and record.last_failed > self.until:
                    self.is_over = True
                    break
                if self.which.matches(record):
                    self.waiting.append(record)
            self.waiting.reverse()
        return self.waiting.pop() if self.waiting else None


async def records(
    scope: Scope,
    which: FailedWhich,
    *,
    after: dict[Place, FailureKey] | None = None,
    until: dict[str, datetime] | None = None,
    size: int = _PAGE,
) -> AsyncIterator[Found]:
    """Matching records of all streams, oldest last failure first. *until* bounds the last failure, by pool."""
    pagers: list[_Pager] = []
    for place, broker in scope.brokers_of(await _places(scope, which)):
        ends = [end for end in (which.until, (until or {}).get(place.pool)) if end is not None]
        end = min(ends, default=None)
        pagers.append(_Pager(place, broker, which, end, (after or {}).get(place), size))
    waiting: list[tuple[datetime, FailureKey, int, FailureRecord]] = []
    for number, pager in enumerate(pagers):
        if (record := await pager.next()) is not None:
            heapq.heappush(waiting, (record.last_failed, record.key, number, record))
    while waiting:
        _, _, number, record = heapq.heappop(waiting)
        pager = pagers[number]
        yield Found(pager.place, pager.broker, record)
        if (following := await pager.next()) is not None:
            heapq.heappush(waiting, (following.last_failed, following.key, number, following))


async def _places(scope: Scope, which: FailedWhich) -> list[Place]:
    """Where to look. Records outlive their stream: one that is gone is looked at when it is named."""
    try:
        return await scope.places(which.stream, which.pool)
    except UnknownStreamError as failure:
        place = scope.place(failure.stream, which.pool)
        broker = scope.broker(place.pool)
        if broker is None or not await broker.failures.tally(place.stream):
            raise
        return [place]


async def failed_page(scope: Scope, which: FailedWhich, *, after: str | None, limit: int) -> FailedPage:
    """One page of matching records. Raises `UsageError` for an *after* that no page gave."""
    if limit < 1:
        raise UsageError(f"limit is {limit}; a page has at least one record")
    positions = _read_token(after) if after is not None else {}
    items: list[FailedMessage] = []
    more = False
    async for found in records(scope, which, after=positions, size=min(limit + 1, _PAGE)):
        if len(items) == limit:
            more = True
            break
        items.append(shown(found.place.pool, found.record))
        positions[found.place] = found.record.key
    return FailedPage(tuple(items), _write_token(positions) if more else None)


async def details(scope: Scope, which: FailedWhich, *, limit: int) -> list[FailedDetail]:
    """Up to *limit* matching records with traceback and payload."""
    found: list[FailedDetail] = []
    layouts = scope.layouts
    async for each in records(scope, which):
        whole = await each.broker.failures.get(each.record.key)
        if whole is not None:
            pool = each.place.pool
            found.append(
                FailedDetail(
                    shown(pool, whole),
                    whole.traceback,
                    _message(pool, whole, whole.fields, layouts),
                    _message(pool, whole, whole.original, layouts),
                    whole.edits,
                )
            )
        if len(found) >= limit:
            break
    return found


async def times(scope: Scope) -> dict[str, datetime]:
    """The present time of every server, by pool."""
    return {
        pool: _EPOCH + timedelta(microseconds=await broker.server_time_us())
        for pool, broker in scope.pools.items()
    }


def shown(pool: str, record: FailureRecord) -> FailedMessage:
    """A record as operations answer with it."""
    key = record.key
    return FailedMessage(
        pool=pool,
        stream=key.stream,
        group=key.group,
        entry_id=key.entry_id,
        listener=key.listener,
        state=record.state.value,
        cause=record.cause,
        error_type=record.error_type,
        error=record.error,
        attempts=record.attempts,
        first_failed=record.first_failed,
        last_failed=record.last_failed,
        due=record.due,
        parked_key=record.parked_key,
    )


def _message(
    pool: str, record: FailureRecord, fields: list[bytes] | None, layouts: EntryReader
) -> EntryView | None:
    if fields is None:
        return None
    return view_of(pool, record.key.stream, [bytes(record.key.entry_id), fields], layouts)


# -- where a page ended ---------------------------------------------------------------------------------------------

_Row = tuple[str, str, str, str, str]


def _write_token(positions: dict[Place, FailureKey]) -> str:
    rows: Sequence[_Row] = [
        (place.pool, place.stream, key.group, str(key.entry_id), key.listener)
        for place, key in positions.items()
    ]
    return base64.urlsafe_b64encode(msgspec.json.encode(rows)).decode().rstrip("=")


def _read_token(token: str) -> dict[Place, FailureKey]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        rows = msgspec.json.decode(text, type=list[_Row])
        return {
            Place(pool, stream): FailureKey(stream, group, EntryId.parse(entry_id), listener)
            for pool, stream, group, entry_id, listener in rows
        }
    except (ValueError, msgspec.MsgspecError):
        raise UsageError(
            f"{token!r} is not where a page of failed messages ended; take `next` of the page"
        ) from None
