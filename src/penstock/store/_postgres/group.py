"""Group commit: appends of many tasks that wait at the same moment go in as one transaction."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from penstock.store.abc import ANY, Append, Appended, Conflict

__all__ = ["Group", "Outcome", "choose"]

Outcome: TypeAlias = list[Appended] | Conflict

_EVENTS: Final = 2_000
"""How many events make a group full; one append may have more."""


class Group:
    """Appends that wait, and the task that sends them by *send*, one group after the other.

    Who finds nobody else sends his own at once, in his own task: to hand it to another one costs as much as the rest.
    An append is not taken back when its task is cancelled: it may be on its way.
    """

    def __init__(self, send: Callable[[Sequence[Append]], Awaitable[Sequence[Outcome | Exception]]]) -> None:
        self._send = send
        self._waiting: deque[tuple[Append, asyncio.Future[Outcome]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._is_direct = False
        """Whether somebody sends his own."""
        self._gathers = False
        """Whether there was somebody else the last time: then others are waited for, for one turn of the loop."""
        self._ended: asyncio.Future[None] | None = None
        """Who waits for the end of what is sent directly."""

    async def append(self, append: Append) -> Outcome:
        """Send one with whatever else waits, and return what became of it."""
        if self._sender is None and not self._is_direct and not self._gathers:
            return await self._append_directly(append)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, outcome))
        if not self._is_direct:
            self._start()
        return await outcome

    async def close(self) -> None:
        """Wait until everything that was given is sent."""
        while self._is_direct or self._sender is not None:
            if self._sender is not None:
                await asyncio.wait([self._sender])
            else:
                if self._ended is None:
                    self._ended = asyncio.get_running_loop().create_future()
                await asyncio.wait([self._ended])

    async def _append_directly(self, append: Append) -> Outcome:
        self._is_direct = True
        try:
            [found] = await self._send([append])
        finally:
            self._is_direct = False
            if self._ended is not None:
                self._ended.set_result(None)
                self._ended = None
            if self._waiting:
                self._gathers = True
                self._start()
        if isinstance(found, Exception):
            raise found
        return found

    def _start(self) -> None:
        if self._sender is None:
            self._sender = asyncio.create_task(self._run(), name="penstock event store appends")

    async def _run(self) -> None:
        try:
            while self._waiting:
                chosen = choose(self._waiting)
                try:
                    outcomes = await self._send([append for append, _ in chosen])
                except asyncio.CancelledError:
                    for _, outcome in chosen:
                        outcome.cancel()
                    raise
                except Exception as failure:  # noqa: BLE001  each caller gets it
                    for _, outcome in chosen:
                        if not outcome.done():
                            outcome.set_exception(failure)
                else:
                    for (_, outcome), found in zip(chosen, outcomes, strict=True):
                        if outcome.done():
                            continue
                        if isinstance(found, Exception):
                            outcome.set_exception(found)
                        else:
                            outcome.set_result(found)
                self._gathers = len(chosen) > 1 or bool(self._waiting)
                if self._gathers:
                    # Those who were answered just now may have more: they go in with those who wait already.
                    await asyncio.sleep(0)
        finally:
            self._sender = None


def choose(
    waiting: deque[tuple[Append, asyncio.Future[Outcome]]],
) -> list[tuple[Append, asyncio.Future[Outcome]]]:
    """Take those from the front that can share a transaction; the others stay in their order.

    Two appends to one stream share it if neither expects a version, and no event id may be there twice: then each can
    be decided without knowing what becomes of the other.
    """
    if len(waiting) == 1 and not waiting[0][1].done():
        return [waiting.popleft()]
    chosen: list[tuple[Append, asyncio.Future[Outcome]]] = []
    left: list[tuple[Append, asyncio.Future[Outcome]]] = []
    ids: set[str] = set()
    streams: dict[str, bool] = {}
    events = 0
    while waiting and events < _EVENTS:
        append, outcome = waiting.popleft()
        if outcome.done():
            continue
        is_any = append.expected is ANY
        own_ids = {event.id for event in append.events}
        own_streams = {event.stream for event in append.events}
        is_free = all(stream not in streams or (is_any and streams[stream]) for stream in own_streams)
        if is_free and ids.isdisjoint(own_ids):
            chosen.append((append, outcome))
            ids |= own_ids
            events += len(append.events)
        else:
            left.append((append, outcome))
            is_any = False  # what comes later to these streams must not overtake it
        for stream in own_streams:
            streams[stream] = is_any
    waiting.extendleft(reversed(left))
    # By stream, so that the groups of two processes take the streams that both append to in the same order.
    return sorted(chosen, key=lambda each: each[0].events[0].stream)
