"""What the tests of stores share: events to append, and reading everything."""

import itertools
from collections.abc import Sequence
from typing import Any

from penstock.message import Meta
from penstock.store.abc import (
    ANY,
    Append,
    Appended,
    Conflict,
    EventFilter,
    Expected,
    NewEvent,
    StoreBackend,
    StoredEvent,
)

__all__ = ["THEN_US", "added", "appended", "ids", "new", "numbered", "read_all"]

THEN_US = 1_700_000_000_000_123
_numbers = itertools.count()
_EVERYTHING = EventFilter()


def new(
    stream: str = "order-1",
    event_id: str | None = None,
    name: str = "order.placed",
    data: bytes | None = b'{"total":3}',
    **envelope: Any,
) -> NewEvent:
    """An event to be appended; ids are made up where none is given."""
    meta = Meta(time=THEN_US, **envelope)
    return NewEvent(stream, event_id or f"e{next(_numbers)}", name, meta, data)


def numbered(count: int, stream: str = "order-1", **more: Any) -> list[NewEvent]:
    """Events of one stream with the ids ``<stream>/0`` and so on."""
    return [new(stream, f"{stream}/{number}", **more) for number in range(count)]


async def appended(
    store: StoreBackend, *events: NewEvent, expected: Expected = ANY, owner: str | None = None
) -> list[Appended] | Conflict:
    """Append events together."""
    return await store.append(Append(events, expected, owner))


async def added(
    store: StoreBackend, *events: NewEvent, expected: Expected = ANY, owner: str | None = None
) -> list[Appended]:
    """Append events together, which goes well."""
    outcome = await appended(store, *events, expected=expected, owner=owner)
    assert not isinstance(outcome, Conflict), outcome
    return outcome


async def read_all(
    store: StoreBackend, wanted: EventFilter = _EVERYTHING, *, limit: int = 1000, **how: Any
) -> list[StoredEvent]:
    """Everything that fits, page by page, to the end that the store has now."""
    found: list[StoredEvent] = []
    through = how.pop("through", None)
    if through is None:
        through = (await store.horizon()).position
    after = how.pop("after", 0)
    while after < through:
        page = await store.read(wanted, after=after, through=through, limit=limit)
        assert len(page.events) <= limit
        assert after < page.through <= through, "a page always leads on, and never too far"
        assert all(after < event.position <= page.through for event in page.events)
        found += page.events
        after = page.through
    return found


def ids(events: Sequence[StoredEvent] | Sequence[Appended]) -> list[str]:
    """Their ids, in order."""
    return [each.event_id if isinstance(each, Appended) else each.id for each in events]
