"""What readers of a store hold in their hands: one stream as it was loaded, and a way through many events."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.store.abc import EventFilter, StoreBackend, StoredEvent

__all__ = ["EventReading", "Loaded"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One event stream as it was when it was loaded."""

    stream: str
    version: int
    """Its version: what to expect of it when appending what was decided by these events."""
    events: Sequence[StoredEvent]
    """By version."""


class EventReading:
    """Events in order, a page in memory at a time. Iterate it with ``async for``, or by `next_page`.

    It ends where the store ended when the first page was read. It may be iterated once.
    """

    def __init__(
        self,
        opened: Callable[[], Awaitable[StoreBackend]],
        wanted: EventFilter,
        *,
        after: int,
        through: int | None,
        page: int,
        backwards: bool,
    ) -> None:
        if page < 1:
            raise UsageError(f"page is {page}; a page has at least one event")
        self._opened = opened
        self._wanted = wanted
        self._after = after
        self._through = through
        self._page = page
        self._backwards = backwards
        self._is_bounded = False

    async def next_page(self) -> Sequence[StoredEvent] | None:
        """Up to as many events as a page has; ``None`` when there are no more.

        Raises `StoreUnavailableError`, `StoreRefusedError`.
        """
        backend = await self._opened()
        if not self._is_bounded:
            end = (await backend.horizon()).position
            self._through = end if self._through is None else min(self._through, end)
            self._is_bounded = True
        while self._through is not None and self._after < self._through:
            found = await backend.read(
                self._wanted,
                after=self._after,
                through=self._through,
                limit=self._page,
                backwards=self._backwards,
            )
            if self._backwards:
                self._through = found.through - 1
            else:
                self._after = found.through
            if found.events:
                return found.events
        return None

    async def __aiter__(self) -> AsyncIterator[StoredEvent]:
        while (events := await self.next_page()) is not None:
            for event in events:
                yield event
