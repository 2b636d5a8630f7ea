"""Events that come from elsewhere into a store: in their order, once per event id, every bad one named.

An import may be cut off at any moment and be run again: what the store has already is passed over by its id.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.errors import CodecError, PenstockError, StoreRefusedError, StoreUnavailableError, UsageError
from penstock.operations._event_lines import read_event_line
from penstock.operations._storing_values import Imported
from penstock.store import EventStore
from penstock.store._outcomes import error_of
from penstock.store.abc import ANY, Append, Appended, Conflict, StoreBackend

__all__ = ["Arrival", "Refused", "append_events", "import_events", "lines_as_events"]

_Together: TypeAlias = Callable[[Sequence[Any]], Awaitable[Sequence[Appended] | str]]
"""Appends events together: where they are, or why not one of them was appended."""

_AT_ONCE = 500
"""Events of one transaction."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way in."""

    where: str
    """Where it comes from, for messages: ``line 17``."""
    event: Any
    """A `NewEvent`, or for `append_events` whatever a store appends."""
    stream_version: int | None = None
    """The number that it had in its stream."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is no event."""

    where: str
    error: str


async def import_events(
    backend: StoreBackend,
    batches: AsyncIterable[Sequence[Arrival | Refused]],
    *,
    skip_bad: bool = False,
    on_progress: Callable[[Imported], None] | None = None,
) -> Imported:
    """Append what comes, in its order, until the first bad one, or *skip_bad* past them. What became of all of it.

    A store that goes away in the middle is told in `Imported.stopped`, since what was imported before is worth knowing.
    """

    async def together(events: Sequence[Any]) -> Sequence[Appended] | str:
        try:
            outcome = await backend.append(Append(tuple(events)))
        except StoreRefusedError as failure:
            return str(failure)
        return str(error_of(ANY, outcome)) if isinstance(outcome, Conflict) else outcome

    return await _take_in(together, batches, skip_bad, on_progress)


async def append_events(
    store: EventStore,
    batches: AsyncIterable[Sequence[Arrival | Refused]],
    *,
    said: Mapping[str, Any],
    skip_bad: bool = False,
    on_progress: Callable[[Imported], None] | None = None,
) -> Imported:
    """As `import_events`, with events as `EventStore.append` takes them and what is *said* of all of them."""

    async def together(events: Sequence[Any]) -> Sequence[Appended] | str:
        append: Any = store.append
        try:
            places: list[Appended] = await append(list(events), **said)
        except StoreUnavailableError:
            raise
        except PenstockError as failure:
            return str(failure)
        return places

    return await _take_in(together, batches, skip_bad, on_progress)


async def _take_in(
    together: _Together,
    batches: AsyncIterable[Sequence[Arrival | Refused]],
    skip_bad: bool,
    on_progress: Callable[[Imported], None] | None,
) -> Imported:
    account = Imported()
    async for batch in batches:
        try:
            await _take(together, batch, account, skip_bad=skip_bad)
        except StoreUnavailableError as failure:
            account.stopped = str(failure)
        if on_progress is not None:
            on_progress(account)
        if account.stopped is not None:
            break
    return account


async def lines_as_events(
    batches: AsyncIterable[Sequence[tuple[int, bytes | None]]],
    read: Callable[[bytes], tuple[Any, int | None]] | None = None,
) -> AsyncIterator[list[Arrival | Refused]]:
    """Numbered lines as what they say; ``None`` stands for a line that was too long to be kept.

    *read* makes of a line its event and the number that this had in its stream; without it, lines are as exported.
    """
    read = read or _read_exported
    async for batch in batches:
        yield [_arrival(number, text, read) for number, text in batch]


def _read_exported(text: bytes) -> tuple[Any, int | None]:
    event, line = read_event_line(text)
    return event, line.stream_version


def _arrival(
    number: int, text: bytes | None, read: Callable[[bytes], tuple[Any, int | None]]
) -> Arrival | Refused:
    where = f"line {number}"
    if text is None:
        return Refused(where, "is too long for an event")
    try:
        event, version = read(text)
    except (UsageError, CodecError) as failure:
        return Refused(where, str(failure))
    return Arrival(where, event, version)


async def _take(
    together: _Together, batch: Sequence[Arrival | Refused], account: Imported, *, skip_bad: bool
) -> None:
    waiting: list[Arrival] = []
    for each in batch:
        match each:
            case Arrival():
                waiting.append(each)
            case Refused(where, error):
                # What stands before it goes in first, so that a stop here has everything up to here.
                if not await _append(together, waiting, account, skip_bad=skip_bad):
                    return
                waiting = []
                if _refuse(account, where, error, skip_bad=skip_bad):
                    return
        if len(waiting) >= _AT_ONCE:
            if not await _append(together, waiting, account, skip_bad=skip_bad):
                return
            waiting = []
    await _append(together, waiting, account, skip_bad=skip_bad)


async def _append(
    together: _Together, arrivals: Sequence[Arrival], account: Imported, *, skip_bad: bool
) -> bool:
    """Append them together, or one by one where some are refused; whether to go on."""
    if not arrivals:
        return True
    outcome = await together([each.event for each in arrivals])
    if not isinstance(outcome, str):
        _count(account, arrivals, outcome)
        return True
    if len(arrivals) == 1:
        return not _refuse(account, arrivals[0].where, outcome, skip_bad=skip_bad)
    for each in arrivals:
        if not await _append(together, [each], account, skip_bad=skip_bad):
            return False
    return True


def _refuse(account: Imported, where: str, error: str, *, skip_bad: bool) -> bool:
    """Note a bad one; whether it ends here."""
    account.refuse(where, error)
    if not skip_bad:
        account.stopped = f"{where}: {error}"
    return not skip_bad


def _count(account: Imported, arrivals: Sequence[Arrival], outcome: Sequence[Appended]) -> None:
    for arrival, appended in zip(arrivals, outcome, strict=True):
        if not appended.is_new:
            account.known += 1
            continue
        account.appended += 1
        account.renumbered += arrival.stream_version not in (None, appended.stream_version)
