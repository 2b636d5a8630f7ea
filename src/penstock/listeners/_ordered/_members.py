"""Who else is there, and what there is to share: the lanes of a group as the server knows them now, and its members."""

import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from penstock.clock import Clock
from penstock.errors import TransientError
from penstock.listeners._ordered._share import fair_share
from penstock.listeners.groups import Group
from penstock.listeners.patterns import FindStreams
from penstock.streams.abc import StreamBroker
from penstock.streams.leasing import describe_process

__all__ = ["LanesOf", "Members"]

LanesOf: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""The streams that a declared one is made of, itself if it has no partitions; asked again and again."""


class Members:
    """This process among the members of a group, beside each of the streams that it reads."""

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        clock: Clock,
        streams: Sequence[str],
        find_streams: FindStreams | None,
        lanes_of: LanesOf | None,
        on_change: Callable[[], None],
    ) -> None:
        self.token = uuid.uuid4().hex
        self.lanes: Mapping[str, Sequence[str]] = {}
        """The lanes by the stream that they make up."""
        self._broker = broker
        self._group = group
        self._clock = clock
        self._streams = streams
        self._find_streams = find_streams
        self._lanes_of = lanes_of or _itself
        self._on_change = on_change
        self._counts: Mapping[str, int] = {}

    @property
    def all_lanes(self) -> list[str]:
        """Every lane there is."""
        return [lane for parts in self.lanes.values() for lane in parts]

    @property
    def share(self) -> int:
        """How many lanes this member holds at most."""
        return fair_share(self.lanes, self._counts)

    async def look(self) -> None:
        """Ask which lanes there are, and join beside each stream."""
        self.lanes = await self._find()
        await self._join()

    async def _find(self) -> Mapping[str, Sequence[str]]:
        found = await self._find_streams() if self._find_streams is not None else ()
        streams = dict.fromkeys((*self._streams, *found))
        return {stream: await self._lanes_of(stream) for stream in streams}

    async def _join(self) -> None:
        counts: dict[str, int] = {}
        for stream in self.lanes:
            there = await self._broker.members.join(
                stream,
                self._group.name,
                token=self.token,
                description=describe_process(),
                life=self._group.settings.lease_life,
            )
            counts[stream] = len(there)
        self._counts = counts

    async def keep_joined(self) -> None:
        """Be a member, and see the others, every third of a lease's life."""
        while True:
            await self._clock.sleep(self._group.settings.lease_life / 3)
            with contextlib.suppress(TransientError):
                await self._join()
                self._on_change()

    async def keep_looking(self) -> None:
        """Ask again which lanes there are: streams are divided anew, and come to match a pattern."""
        while True:
            await self._clock.sleep(self._group.settings.refresh)
            with contextlib.suppress(TransientError):
                lanes = await self._find()
                if lanes != self.lanes:
                    self.lanes = lanes
                    await self._join()
                    self._on_change()

    async def leave(self) -> None:
        """Be no member any more."""
        for stream in self.lanes:
            await self._broker.members.leave(stream, self._group.name, token=self.token)


async def _itself(stream: str) -> Sequence[str]:
    return (stream,)
