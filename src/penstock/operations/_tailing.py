"""Watching streams: what is there and what comes, as people look at it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

from penstock.errors import UsageError
from penstock.operations._scope import Place, Scope
from penstock.operations._values import EntryView
from penstock.operations._views import view_of
from penstock.position import NEW, EntryId, Start
from penstock.streams.abc import RawId, StreamBroker

__all__ = ["tail"]

_BLOCK = timedelta(seconds=1)
_PAGE = 100


async def tail(
    scope: Scope, places: Sequence[Place], *, start: Start, last: int, follow: bool
) -> AsyncGenerator[EntryView, None]:
    """Entries from *start* on, or the *last* ones there are; then, with *follow*, every further one as it comes.

    In id order within what one read brings; streams of several pools come as they are read.
    """
    if last < 0:
        raise UsageError(f"last is {last}; it is a number of entries")
    by_pool: dict[str, tuple[StreamBroker, list[Place]]] = {}
    for place, broker in scope.brokers_of(list(places)):
        by_pool.setdefault(place.pool, (broker, []))[1].append(place)
    watches = [
        _watch(scope, pool, broker, [place.stream for place in there], start, last, follow)
        for pool, (broker, there) in by_pool.items()
    ]
    async with aclosing(_merged(watches)) as views:
        async for view in views:
            yield view


async def _watch(
    scope: Scope,
    pool: str,
    broker: StreamBroker,
    streams: Sequence[str],
    start: Start,
    last: int,
    follow: bool,
) -> AsyncGenerator[EntryView, None]:
    layouts = scope.layouts
    positions: dict[str, RawId] = {}
    shown: list[EntryView] = []
    for stream in streams:
        positions[stream] = await broker.resolve(stream, start)
        if start is NEW and last:
            newest = await broker.range(
                stream, end=EntryId.parse(positions[stream]), count=last, reverse=True
            )
            shown += [view_of(pool, stream, entry, layouts) for entry in newest]
    for view in sorted(shown, key=_order)[-last or None :]:
        yield view
    if not follow and start is NEW:
        return
    while True:
        batches = await broker.read(positions, count=_PAGE, block=_BLOCK if follow else None)
        for stream, entries in batches:
            positions[stream] = entries[-1][0]
        views = [view_of(pool, stream, entry, layouts) for stream, entries in batches for entry in entries]
        for view in sorted(views, key=_order):
            yield view
        if not follow and not batches:
            return


def _order(view: EntryView) -> tuple[EntryId, str]:
    return view.entry_id, view.stream


async def _merged(watches: Sequence[AsyncGenerator[EntryView, None]]) -> AsyncGenerator[EntryView, None]:
    """Everything that the watches bring, as it comes; at most one entry of each waits."""
    if len(watches) == 1:
        async for view in watches[0]:
            yield view
        return
    waiting = {asyncio.ensure_future(anext(watch)): watch for watch in watches}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                watch = waiting.pop(each)
                if isinstance(each.exception(), StopAsyncIteration):
                    continue
                yield each.result()
                waiting[asyncio.ensure_future(anext(watch))] = watch
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
