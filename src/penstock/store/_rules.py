"""Rules of streams: what their metadata lets go is removed, but nothing that somebody has still to read."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeAlias

from penstock.store.abc import StoreBackend, StreamInfo

__all__ = ["ProtectedAfter", "apply_rules"]

ProtectedAfter: TypeAlias = Callable[[], int]
"""The lowest checkpoint of all that read a store: events above it have still to be read. It may block."""

_PAGE: Final = 500
_STREAMS: Final = 100
_MICROSECOND: Final = timedelta(microseconds=1)


async def apply_rules(backend: StoreBackend, protected_after: ProtectedAfter | None, *, limit: int) -> int:
    """Remove about *limit* events at most; how many that were."""
    floor = None if protected_after is None else await asyncio.to_thread(protected_after)
    removed, after = 0, ""
    while removed < limit:
        streams = await backend.streams(after=after, limit=_STREAMS, with_rules=True)
        for stream in streams:
            removed += await _apply(backend, stream, floor, limit - removed)
            if removed >= limit:
                break
            after = stream.name
        if len(streams) < _STREAMS:
            break
    return removed


async def _apply(backend: StoreBackend, stream: StreamInfo, floor: int | None, limit: int) -> int:
    last, removed = 0, 0
    oldest_us = None
    if (max_age := stream.metadata.max_age) is not None:
        oldest_us = time.time_ns() // 1000 - max_age // _MICROSECOND
    newest = 0 if stream.metadata.max_count is None else stream.version - stream.metadata.max_count
    while removed < limit:
        page = await backend.read_stream(stream.name, limit=min(_PAGE, limit - removed))
        through = None
        for event in page:
            too_old = oldest_us is not None and event.recorded_us < oldest_us
            is_read = floor is None or event.position <= floor
            if not is_read or not (too_old or event.stream_version <= newest):
                break
            through = event.stream_version
        if through is None or through <= last:
            break
        last = through
        removed += await backend.delete(stream.name, through=through, limit=len(page))
        if through < page[-1].stream_version:
            break
    return removed
