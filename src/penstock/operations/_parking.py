"""Parked keys of ordered groups and of projections: looking at them, asking for them to be handled, giving them up."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.operations import _mending_projections
from penstock.operations._failures_of_projections import ProjectionFailures
from penstock.operations._noting import Noting, person
from penstock.operations._scope import Place, Scope
from penstock.operations._values import ParkedKeySummary
from penstock.position import EntryId
from penstock.streams.abc import ParkedKey, StreamBroker

__all__ = ["ParkedWhich", "Parking"]

_PAGE = 100


@dataclass(frozen=True, slots=True)
class ParkedWhich:
    """Which parked keys: those that match everything given. Nothing given: all."""

    stream: str | None = None
    group: str | None = None
    key: str | None = None
    """``""`` is the key of events without one."""
    pool: str | None = None
    projection: str | None = None
    """Only keys of that projection or relay; ``None``: those of ordered groups, too."""

    @property
    def is_everything(self) -> bool:
        """Whether no key is excluded."""
        return self == ParkedWhich()

    @property
    def has_projections(self) -> bool:
        """Whether keys of projections may be meant."""
        return self.stream is None and self.group is None and self.pool is None


class Parking(ABC):
    """The part of `Operations` that knows what ordered groups have parked."""

    @abstractmethod
    async def _scope(self) -> Scope: ...

    @property
    @abstractmethod
    def _projection_failures(self) -> ProjectionFailures | None: ...

    async def parked_keys(self, which: ParkedWhich | None = None) -> list[ParkedKeySummary]:
        """The keys whose events wait, by pool, stream, group and key, then those of projections.

        Raises `UnknownStreamError`.
        """
        which = which or ParkedWhich()
        found: list[ParkedKeySummary] = []
        if which.projection is None:
            of_groups = _found(await self._scope(), which)
            found = [_shown(place, parked) async for place, _, parked in of_groups]
        if which.has_projections and (others := self._projection_failures) is not None:
            found += await _mending_projections.parked_keys(others, which.projection, which.key)
        return found

    async def unpark(
        self,
        which: ParkedWhich,
        *,
        everything: bool = False,
        who: str | None = None,
        why: str | None = None,
    ) -> list[ParkedKeySummary]:
        """Ask whoever works the stream, or runs the projection, to handle what waits under these keys, in order.

        Which keys those are is answered. It is done within a second or two, or when somebody is started. All keys are
        only meant when *everything* says so. Where *who* or *why* is said, it is noted for `failed_log`.

        Raises:
            UnknownStreamError: *which* names a stream that neither exists nor is registered.
            UsageError: Nothing narrows *which* down and *everything* is False.
        """
        if which.is_everything and not everything:
            raise UsageError("this would unpark every key; narrow it down, or say everything=True")
        by, asked = person(who, why), list[ParkedKeySummary]()
        if which.has_projections and (others := self._projection_failures) is not None:
            asked = await _mending_projections.unpark(others, which.projection, which.key, by=by)
        if which.projection is not None:
            return asked
        scope = await self._scope()
        noting = Noting(scope, "unpark", which, by)
        try:
            async for place, broker, parked in _found(scope, which):
                events = await broker.lanes.unpark(place.stream, parked.group, parked.key)
                noting.count(place, events)
                if events:
                    asked.append(_shown(place, parked, unparking=True, events=events))
        finally:
            await noting.write()
        return asked

    async def discard(
        self, stream: str, group: str, key: str, entry_id: EntryId | None = None, *, pool: str | None = None
    ) -> int:
        """Give up what waits under a key, or one entry of it, with its records; how many events. Nothing runs it."""
        scope = await self._scope()
        broker = scope.broker(scope.place(stream, pool).pool)
        return 0 if broker is None else await broker.lanes.discard_parked(stream, group, key, entry_id)


async def _found(scope: Scope, which: ParkedWhich) -> AsyncIterator[tuple[Place, StreamBroker, ParkedKey]]:
    for place, broker in scope.brokers_of(await scope.places(which.stream, which.pool)):
        groups = sorted(tally.group for tally in await broker.failures.tally(place.stream) if tally.parked)
        for group in groups:
            if which.group not in (None, group):
                continue
            after: str | None = None
            while True:
                page = await broker.lanes.parked_keys(place.stream, group, after=after, count=_PAGE)
                for parked in page:
                    if which.key in (None, parked.key):
                        yield place, broker, parked
                if len(page) < _PAGE:
                    break
                after = page[-1].key


def _shown(
    place: Place, parked: ParkedKey, *, unparking: bool | None = None, events: int | None = None
) -> ParkedKeySummary:
    return ParkedKeySummary(
        place.pool,
        parked.stream,
        parked.group,
        parked.key,
        parked.events if events is None else events,
        parked.since,
        parked.first,
        parked.error_type,
        parked.error,
        parked.unparking if unparking is None else unparking,
    )
