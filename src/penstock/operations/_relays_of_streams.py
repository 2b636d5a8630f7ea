"""Relays out of streams as the other relays are seen: where they are in each partition, added up to one line."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from penstock.app import App
from penstock.errors import PenstockError
from penstock.operations._projecting_values import Found
from penstock.projections.abc import LIVE, ProjectionPlan, ProjectionState, ProjectionStatus
from penstock.relays._bridge import Bridge
from penstock.relays._stream_source import StreamSource
from penstock.relays.abc import stream_in
from penstock.store.abc import EventReader
from penstock.streams.partitions import split_lane

__all__ = ["StreamRelays", "added_up"]

_STATES: Final[Sequence[ProjectionState]] = (
    "halted",
    "failed",
    "stopping",
    "catching_up",
    "running",
    "idle",
    "stopped",
)
"""What a sum shows: the first of these that one of its parts is in."""


class StreamRelays:
    """The relays of an app that read a stream. What cannot be reached is told in `problems`, once."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.problems: list[str] = []

    async def plans(self, store: str) -> list[tuple[str, ProjectionPlan]]:
        """What is declared to go into *store*, for each partition of its stream, with the copy's name."""
        found: list[tuple[str, ProjectionPlan]] = []
        for relay in self._app.planned_relays()[0].values():
            stream = stream_in(relay.source)
            if stream is None or relay.target != store:
                continue
            for lane in await self._lanes(stream):
                found.append((LIVE if lane == stream else lane, relay.engine_plan(f"stream:{lane}")))
        return found

    async def readers(self, sources: Iterable[str]) -> dict[str, Callable[[], EventReader]]:
        """How each of these is read, as far as its server can be reached; archives are left out."""
        found: dict[str, Callable[[], EventReader]] = {}
        bridge = Bridge(asyncio.get_running_loop())
        for source in sorted(set(sources)):
            lane = stream_in(source)
            if lane is None:
                continue
            try:
                broker = await self._app.broker_for(lane)
                stream = StreamSource(lane, broker, layouts=self._app.layouts, bridge=bridge)
                await stream.horizon()
            except PenstockError as failure:
                self._tell(lane, failure)
            else:
                found[source] = stream.reader
        return found

    async def _lanes(self, stream: str) -> Sequence[str]:
        try:
            return await self._app._lanes_of_relayed(stream)  # pyright: ignore[reportPrivateUsage]
        except PenstockError as failure:
            self._tell(stream, failure)
            return [stream]

    def _tell(self, lane: str, failure: PenstockError) -> None:
        problem = f"stream {lane!r}: {failure}"
        if problem not in self.problems:
            self.problems.append(problem)


def added_up(found: Sequence[Found]) -> list[Found]:
    """One for each name: the partitions of a stream are added up, from the one that is furthest behind to the end."""
    ordered = sorted(found, key=lambda each: (each.name, each.place))
    summed: list[Found] = []
    for _, same in groupby(ordered, key=lambda each: (each.name, each.store)):
        parts = list(same)
        stream = stream_in(parts[0].status.source)
        if stream is None:
            summed += parts
        else:
            # Under the plain name the stream has no partitions, whatever it is called.
            base = stream if parts[0].generation == LIVE else _stream_of(stream)
            summed.append(replace(parts[0], status=_sum([each.status for each in parts], base)))
    return summed


def _sum(parts: Sequence[ProjectionStatus], stream: str) -> ProjectionStatus:
    worst = min(parts, key=lambda each: _STATES.index(each.state))
    wrong = next((each for each in parts if each.error is not None), worst)
    holders = list(dict.fromkeys(each.holder for each in parts if each.holder is not None))
    return replace(
        wrong,
        source=f"stream:{stream}",
        state=worst.state,
        position=min(each.position for each in parts),
        head=max(each.head for each in parts),
        lag_events=sum(each.lag_events for each in parts),
        lag_seconds=max(each.lag_seconds for each in parts),
        holder=", ".join(holders) or None,
        parked=sum(each.parked for each in parts),
        updated_at=max((each.updated_at for each in parts if each.updated_at is not None), default=None),
    )


def _stream_of(lane: str) -> str:
    parts = split_lane(lane)
    return lane if parts is None else parts[0]
