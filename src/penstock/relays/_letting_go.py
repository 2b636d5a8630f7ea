"""Letting go of what was relayed: an outbox whose events nobody wants to keep for ever.

Only the beginning of an event stream is ever deleted, as far as every event in it was relayed, is old enough, and is
needed by nobody else who reads the store. Versions go on from where they were.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from penstock.relays._choosing import bound_for
from penstock.relays.abc import RelayPlan
from penstock.store.abc import StoreBackend, StoredEvent

__all__ = ["let_go"]

_PAGE: Final = 500
_MICROSECOND: Final = timedelta(microseconds=1)


async def let_go(
    store: StoreBackend,
    plan: RelayPlan,
    *,
    through: int,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    limit: int = 10_000,
) -> int:
    """Delete what the relay was told not to keep, up to position *through*; *limit* at most; how many that was."""
    if plan.keep is None or through < 1:
        return 0
    before_us = now_us() - plan.keep // _MICROSECOND
    looked: set[str] = set()
    removed, after = 0, 0
    while removed < limit and after < through:
        page = await store.read(plan.wanted, after=after, through=through, limit=_PAGE)
        for event in page.events:
            if event.recorded_us > before_us:
                return removed
            if event.stream not in looked and removed < limit:
                looked.add(event.stream)
                removed += await _shorten(store, plan, event.stream, through, before_us, limit - removed)
        if page.through <= after:
            break
        after = page.through
    return removed


async def _shorten(
    store: StoreBackend, plan: RelayPlan, stream: str, through: int, before_us: int, limit: int
) -> int:
    removed = 0
    while removed < limit:
        page = await store.read_stream(stream, limit=min(_PAGE, limit - removed))
        version = None
        for event in page:
            if event.position > through or event.recorded_us > before_us or not _went(plan, event):
                break
            version = event.stream_version
        if version is None:
            break
        removed += await store.delete(stream, through=version, limit=len(page))
        if version < page[-1].stream_version or len(page) < _PAGE:
            break
    return removed


def _went(plan: RelayPlan, event: StoredEvent) -> bool:
    try:
        return bound_for(plan, event) is not None
    except Exception:  # noqa: BLE001  a function of the user's: what it cannot judge is kept
        return False
