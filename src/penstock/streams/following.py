"""Reading streams whose partitions may change: the partitions that come are read too, from their beginning."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

from penstock.position import BEGINNING, NEW, Start
from penstock.streams.abc import StreamBroker
from penstock.streams.reader import StreamReader

__all__ = ["FollowingReader", "LanesOf"]

LanesOf: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Answers which streams are to be read for a stream at this moment."""

_ASK_EVERY: Final = timedelta(seconds=2)


class FollowingReader(StreamReader):
    """A `StreamReader` for which a stream is all of its partitions, by *lanes_of*, those included that come later."""

    def __init__(
        self,
        broker: StreamBroker,
        streams: Iterable[str],
        *,
        lanes_of: LanesOf,
        start: Start = NEW,
        cursor: str | None = None,
        **how: Any,
    ) -> None:
        super().__init__(broker, (), start=start, cursor=cursor, **how)
        self._lanes_of = lanes_of
        self._wanted: dict[str, Start] = dict.fromkeys(streams, start)
        self._lanes: dict[str, tuple[str, ...]] = {}
        self._ask_at = 0.0

    def add(self, stream: str, start: Start | None = None) -> None:
        """Read another stream too, with all its partitions; from where the reader itself began."""
        self._wanted.setdefault(stream, self._start if start is None else start)
        self._ask_at = 0.0

    def remove(self, stream: str) -> None:
        """Stop reading a stream with all its partitions."""
        self._wanted.pop(stream, None)
        for lane in self._lanes.pop(stream, ()):
            super().remove(lane)

    async def prepare(self) -> None:
        """Fix where reading starts, as the first read does; call it before emitting to see what you emit."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at:
            for stream, start in list(self._wanted.items()):
                await self._look(stream, start)
            self._ask_at = now + _ASK_EVERY.total_seconds()
        await super().prepare()

    async def _look(self, stream: str, start: Start) -> None:
        known = self._lanes.get(stream, ())
        came = [lane for lane in await self._lanes_of(stream) if lane not in known]
        # A partition that came later has held nothing from before; nor has one that came while nobody read, if others
        # have been read under our cursor.
        is_later = bool(known) or await self._has_begun(came)
        for lane in came:
            super().add(lane, BEGINNING if is_later else start)
        self._lanes[stream] = (*known, *came)

    async def _has_begun(self, lanes: Sequence[str]) -> bool:
        if self._cursor is None or len(lanes) < 2:
            return False
        return any([await self._broker.load_cursor(lane, self._cursor) is not None for lane in lanes])

    async def _fetch(self, block: timedelta | None) -> None:
        until = asyncio.get_running_loop().time() + (block or timedelta(0)).total_seconds()
        while True:
            left = timedelta(seconds=until - asyncio.get_running_loop().time())
            # A long wait is cut into pieces, or a partition that comes meanwhile would not be seen.
            await super()._fetch(min(left, _ASK_EVERY) if block and left > timedelta(0) else None)
            if self._ready or not block or left <= _ASK_EVERY:
                return
