"""The part of `Operations` that divides streams into partitions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock.errors import UsageError
from penstock.operations._scope import Place, Scope
from penstock.streams.abc import StreamBroker
from penstock.streams.partitions import check_count, lane_names
from penstock.streams.repartitioning import Repartitioned, Repartitioning, Undrained

__all__ = ["Dividing", "PartitionsDetail", "RepartitionResult", "Undrained"]

_DRAIN_WITHIN = timedelta(seconds=20)
"""Less than an event waits for."""


@dataclass(frozen=True, slots=True)
class PartitionsDetail:
    """How a stream is divided, and what stands in the way of dividing it anew."""

    pool: str
    stream: str
    partitions: int | None
    """``None``: the stream has no partitions."""
    state: str
    """``settled``, ``draining`` or ``opening``; ``undivided`` without partitions."""
    changing_to: int | None
    declared: int | None
    """What the settings say."""
    undrained: tuple[Undrained, ...]
    """Groups that have not handled everything yet: a change waits for them."""
    parked_keys: int
    """Keys with parked events. They are not waited for, and stay behind what comes after them in the new partitions."""
    failed: int
    """Failure records, retries included. They are not waited for."""


@dataclass(frozen=True, slots=True)
class RepartitionResult:
    """What became of a change."""

    pool: str
    stream: str
    before: int | None
    """How many partitions there were; ``None``: the stream had none."""
    partitions: int
    """How many there are now."""
    declared: int | None
    """What the settings say."""
    held_by: tuple[Undrained, ...]
    """Who had not handled everything in time, so that the change was given up; empty when it was done."""


class Dividing(ABC):
    """What may be asked of, and done to, the partitions of a stream."""

    @abstractmethod
    async def _scope(self) -> Scope: ...

    async def partitions(self, stream: str, *, pool: str | None = None) -> PartitionsDetail:
        """How a stream is divided, if it is, and who has something left to handle."""
        scope, place, broker = await self._found(stream, pool)
        layout = await broker.partitions.layout(stream)
        held = await Repartitioning(broker, stream).undrained(layout) if layout is not None else []
        lanes = lane_names(stream, layout.ever) if layout is not None else ()
        parked, failed = await _left_behind(broker, lanes)
        return PartitionsDetail(
            pool=place.pool,
            stream=stream,
            partitions=layout.partitions if layout is not None else None,
            state=layout.phase.value if layout is not None else "undivided",
            changing_to=layout.target if layout is not None else None,
            declared=_declared(scope, stream),
            undrained=tuple(held),
            parked_keys=parked,
            failed=failed,
        )

    async def repartition(
        self,
        stream: str,
        partitions: int,
        *,
        pool: str | None = None,
        timeout: timedelta = _DRAIN_WITHIN,
        progress: Callable[[Sequence[Undrained]], None] = lambda _: None,
    ) -> RepartitionResult:
        """Have the stream divided into *partitions*, or go on with what an earlier call began.

        Publishers wait while the present partitions drain. What is not drained within *timeout* is given up: the
        result says who held it up.

        Raises:
            UsageError: A stream cannot have so many.
            IllegalTransitionError: The stream is being changed to another number.
            ConfigurationError: The stream has no partitions yet, and groups have not handled all that is in it.
            UnknownStreamError: The stream neither exists nor is registered.
        """
        check_count(partitions)
        if timeout <= timedelta(0):
            raise UsageError(f"timeout is {timeout}; it is above zero")
        scope, place, broker = await self._found(stream, pool)
        if await broker.partitions.layout(stream) is None:
            await scope.places(stream, pool)
        done = await Repartitioning(broker, stream, progress=progress).to(partitions, timeout=timeout)
        return _result(scope, place, done)

    async def repartition_abort(self, stream: str, *, pool: str | None = None) -> RepartitionResult:
        """Give up a change that an earlier call left unfinished; one that has gone too far is finished.

        Raises:
            UnknownStreamError: The stream has no partitions.
        """
        scope, place, broker = await self._found(stream, pool)
        layout = await broker.partitions.layout(stream)
        settled = await Repartitioning(broker, stream).give_up()
        return _result(scope, place, Repartitioned(settled, layout.partitions if layout else None))

    async def _found(self, stream: str, pool: str | None) -> tuple[Scope, Place, StreamBroker]:
        scope = await self._scope()
        place = scope.place(stream, pool)
        broker = scope.broker(place.pool)
        if broker is None:
            raise UsageError("no server is connected that could be asked for partitions")
        return scope, place, broker


async def _left_behind(broker: StreamBroker, lanes: Sequence[str]) -> tuple[int, int]:
    """How many keys are parked, and how many failure records there are."""
    parked = failed = 0
    for lane in lanes:
        for tally in await broker.failures.tally(lane):
            failed += tally.retrying + tally.failed
            after = None
            while tally.parked and (page := await broker.lanes.parked_keys(lane, tally.group, after=after)):
                parked += len(page)
                after = page[-1].key
    return parked, failed


def _declared(scope: Scope, stream: str) -> int | None:
    if scope.app is None:
        return None
    said = scope.app.settings.stream_settings.get(stream)
    return said.partitions if said is not None else None


def _result(scope: Scope, place: Place, done: Repartitioned) -> RepartitionResult:
    return RepartitionResult(
        pool=place.pool,
        stream=place.stream,
        before=done.before,
        partitions=done.layout.partitions,
        declared=_declared(scope, place.stream),
        held_by=done.held_by,
    )
