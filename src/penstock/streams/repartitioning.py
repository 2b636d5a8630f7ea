"""Changing the number of partitions of a stream without losing an event or the order of a key.

```text
settled --begin--> draining --every partition closed, every group has handled all of it--> opening --> settled
                      |                                                                       ^
                      +--- given up: the partitions that there were are to be opened again ---+
```

Events of a key go to another partition under the new layout, so that nothing may enter there before everything of the
old one was handled. Partitions are closed one by one, each in its own script; what their publishers send afterwards is
refused, and waits. Every step may be repeated, and is where it was left when the process that did it was killed: the
record on the server says how far it came.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from penstock.clock import Clock, SystemClock
from penstock.errors import IllegalTransitionError, UnknownStreamError
from penstock.position import BEGINNING
from penstock.streams.abc import GroupInfo, LayoutPhase, PartitionLayout, StreamBroker
from penstock.streams.partitioned import finish_opening, make_first_layout
from penstock.streams.partitions import begun, check_count, given_up, lane_names, opening

__all__ = ["Repartitioned", "Repartitioning", "Undrained"]

_SHORTEST_PAUSE: Final = timedelta(milliseconds=10)
_LONGEST_PAUSE: Final = timedelta(milliseconds=500)
_GIVE_UP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Undrained:
    """A group that has not handled everything of a partition."""

    lane: str
    group: str
    lag_entries: int
    pending: int


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """What became of a change, and the layout that holds now."""

    layout: PartitionLayout
    before: int | None
    """How many partitions there were; ``None``: the stream had none."""
    held_by: tuple[Undrained, ...] = ()
    """Who had not handled everything when it was given up; the layout is the one that was."""


class Repartitioning:
    """The change of one stream's layout.

    Args:
        progress: Told who has still something to handle, each time that was looked at.
    """

    def __init__(
        self,
        broker: StreamBroker,
        stream: str,
        *,
        clock: Clock | None = None,
        progress: Callable[[Sequence[Undrained]], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._clock = clock or SystemClock()
        self._progress = progress

    async def to(self, partitions: int, *, timeout: timedelta) -> Repartitioned:
        """Have the stream divided into *partitions*, or go on with what an earlier run began.

        What is not drained within *timeout* is given up: the former partitions are open again. The same when the call
        is cancelled meanwhile.

        Raises:
            UsageError: A stream cannot have so many.
            IllegalTransitionError: The stream is being changed to another number.
            ConfigurationError: The stream has no partitions yet, and groups have not handled all that is in it.
        """
        check_count(partitions)
        try:
            return await self._to(partitions, timeout)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    await self.give_up()
            raise

    async def _to(self, partitions: int, timeout: timedelta) -> Repartitioned:
        layout = await self._broker.partitions.layout(self._stream)
        if layout is None:
            return Repartitioned(await make_first_layout(self._broker, self._stream, partitions), None)
        before = layout.partitions
        while layout.phase is not LayoutPhase.SETTLED or layout.partitions != partitions:
            match layout.phase:
                case LayoutPhase.SETTLED:
                    await self._broker.partitions.put(begun(layout, partitions))
                case LayoutPhase.DRAINING if layout.target != partitions:
                    raise IllegalTransitionError(
                        f"the layout of stream {self._stream!r}",
                        state=f"being changed to {layout.target} partitions (finish that, or give it up with --abort)",
                        wanted=f"one of {partitions}",
                    )
                case LayoutPhase.DRAINING:
                    if held_by := await self._drain(layout, timeout):
                        return Repartitioned(await self.give_up(), before, tuple(held_by))
                    await self._open(layout)
                case LayoutPhase.OPENING:
                    await finish_opening(self._broker, layout)
            layout = await self._layout()
        return Repartitioned(layout, before)

    async def give_up(self) -> PartitionLayout:
        """Take a change back that has not opened anything yet; one that has is finished. The layout that holds then.

        Raises:
            UnknownStreamError: The stream has no partitions.
        """
        layout = await self._layout()
        while layout.phase is not LayoutPhase.SETTLED:
            if layout.phase is LayoutPhase.OPENING:
                await finish_opening(self._broker, layout)
            elif layout.target == layout.partitions or await self._broker.partitions.put(given_up(layout)):
                # Under a new epoch: what was refused under the old one must stay refused, or a later event of a key
                # might come before it.
                await self._open(await self._layout())
            layout = await self._layout()
        return layout

    async def undrained(self, layout: PartitionLayout) -> list[Undrained]:
        """The groups that have something left to handle in a partition that there is, or was."""
        found = [
            Undrained(lane, group.name, group.lag_entries, group.pending)
            for lane in lane_names(self._stream, layout.ever)
            for group in await self._groups(lane)
        ]
        return [each for each in found if each.lag_entries or each.pending]

    # -- steps --------------------------------------------------------------------------------------------------

    async def _drain(self, layout: PartitionLayout, timeout: timedelta) -> list[Undrained]:
        """Close the partitions and wait until they are empty for everybody; who held it up for too long."""
        for lane in lane_names(self._stream, layout.partitions):
            await self._broker.partitions.close_lane(lane, layout.epoch)
        until, pause = self._clock.monotonic() + timeout.total_seconds(), _SHORTEST_PAUSE
        while left := await self.undrained(layout):
            self._progress(left)
            if await self._layout() != layout:
                break  # another process has gone on with it
            if self._clock.monotonic() > until:
                return left
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return []

    async def _open(self, layout: PartitionLayout) -> None:
        if layout.phase is not LayoutPhase.DRAINING:
            return
        # Before the first event can come in, whoever has read the stream is there to read it.
        lanes = lane_names(self._stream, layout.target or layout.partitions)
        groups = {
            group.name for lane in lane_names(self._stream, layout.ever) for group in await self._groups(lane)
        }
        for lane in lanes:
            if groups:
                await self._broker.removal.register_groups(lane, sorted(groups))
            if await self._broker.length(lane):
                continue  # where a group of it is missing that has a reason, and what lies there may be for it, or not
            for group in sorted(groups):
                await self._broker.create_group(lane, group, BEGINNING)
        next_layout = opening(layout, await self._broker.server_time_us())
        if await self._broker.partitions.put(next_layout):
            await finish_opening(self._broker, next_layout)

    async def _groups(self, lane: str) -> list[GroupInfo]:
        try:
            return await self._broker.groups(lane)
        except UnknownStreamError:
            return []

    async def _layout(self) -> PartitionLayout:
        layout = await self._broker.partitions.layout(self._stream)
        if layout is None:
            raise UnknownStreamError(self._stream)
        return layout
