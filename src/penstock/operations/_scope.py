"""Where operations look: the servers by pool, and what is registered there by settings and by the app's code."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.app import App
from penstock.errors import UnknownStreamError, UsageError
from penstock.position import BEGINNING, Start
from penstock.streams.abc import StreamBroker
from penstock.streams.layouts import NATIVE, EntryReader
from penstock.streams.partitions import declared_of, lane_names, lane_of, split_lane

__all__ = ["Place", "Scope"]

_DEFAULT_POOL = "default"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A stream in its pool."""

    pool: str
    stream: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The servers, and what is registered. Without servers everything registered is not there yet."""

    pools: Mapping[str, StreamBroker]
    app: App | None = None
    registered: Mapping[Place, frozenset[str]] = field(default_factory=dict[Place, frozenset[str]])
    """Every registered stream with its registered groups."""

    @classmethod
    def of(cls, app: App | None, pools: Mapping[str, StreamBroker]) -> "Scope":
        """The scope of an app, whose settings and declarations say what is registered."""
        if app is None:
            return cls(pools)
        found: dict[Place, set[str]] = {}
        for stream, group in _registered(app):
            groups = found.setdefault(Place(_pool_of(app, stream), stream), set())
            if group is not None:
                groups.add(group)
        return cls(pools, app, {place: frozenset(groups) for place, groups in found.items()})

    def broker(self, pool: str) -> StreamBroker | None:
        """The server of a pool, if there is one to be asked. Raises `UsageError` for a pool that does not exist."""
        if self.pools and pool not in self.pools:
            raise UsageError(f"there is no pool {pool!r}; there are {', '.join(sorted(self.pools))}")
        return self.pools.get(pool)

    def place(self, stream: str, pool: str | None = None) -> Place:
        """Where a stream is: in the given pool, else where it is registered, else in the default one."""
        if pool is not None:
            return Place(pool, stream)
        if self.app is not None:
            return Place(_pool_of(self.app, stream), stream)
        return Place(_DEFAULT_POOL if _DEFAULT_POOL in self.pools else next(iter(self.pools)), stream)

    async def places(self, stream: str | None = None, pool: str | None = None) -> list[Place]:
        """Every stream there is or should be, sorted; only those of that name and pool, if given.

        A stream with partitions is named for all of them, and listed as they are.

        Raises:
            UnknownStreamError: A stream was named that neither exists nor is registered.
            UsageError: There is no such pool.
        """
        if pool is not None:
            self.broker(pool)
        there: set[Place] = set()
        for name, broker in self.pools.items():
            there |= {Place(name, each) for each in await broker.streams()}
        found = there.union(self.registered)
        if stream is None:
            found = {place for place in found if place in there or not self._is_divided(place, there)}
        else:
            named = [place for place in found if place.stream == stream]
            asked = named or [Place(name, stream) for name in self.pools]
            found = there.intersection(await self.with_partitions(asked)).union(named)
            if not found:
                raise UnknownStreamError(stream)
        return sorted(place for place in found if pool in (None, place.pool))

    def _is_divided(self, place: Place, there: Collection[Place]) -> bool:
        """Whether a registered stream is there as its partitions, and not by itself."""
        partitions = self.app.settings.partitions if self.app is not None else {}
        return place.stream in partitions and Place(place.pool, lane_of(place.stream, 0)) in there

    @property
    def layouts(self) -> EntryReader:
        """What reads the entries of every stream."""
        return self.app.layouts.reader if self.app is not None else NATIVE

    async def with_partitions(self, places: list[Place]) -> list[Place]:
        """The places, and where a stream has or had partitions, these."""
        found = dict.fromkeys(places)
        for place, broker in self.brokers_of(places):
            layout = await broker.partitions.layout(place.stream)
            if layout is not None:
                found |= {Place(place.pool, lane): None for lane in lane_names(place.stream, layout.ever)}
        return list(found)

    def groups_of(self, place: Place) -> frozenset[str]:
        """The groups registered for a stream, or for the one that it is a partition of."""
        lane = split_lane(place.stream) if place not in self.registered else None
        if lane is not None and self.app is not None and lane[0] in self.app.settings.partitions:
            place = Place(place.pool, lane[0])
        return self.registered.get(place, frozenset())

    def start_of(self, group: str) -> Start:
        """Where a group that does not exist yet would begin."""
        declared = self.app.registry.groups.get(group) if self.app is not None else None
        return declared.settings.start if declared is not None else BEGINNING

    def brokers_of(self, places: list[Place]) -> Iterator[tuple[Place, StreamBroker]]:
        """The places whose server can be asked, with it."""
        for place in places:
            broker = self.broker(place.pool)
            if broker is not None:
                yield place, broker


def _pool_of(app: App, stream: str) -> str:
    declared = declared_of(stream, app.settings.stream_settings, app.settings.partitions)
    return declared.pool if declared is not None else _DEFAULT_POOL


def _registered(app: App) -> Iterator[tuple[str, str | None]]:
    """Streams with the groups that settings, and the code as far as it was loaded, register for them."""
    yield from ((stream, None) for stream in app.settings.stream_settings)
    yield from app.settings.stream_groups()
    for event, listeners in app.settings.listeners.items():
        yield from ((event, listener.group) for listener in listeners)
    yield from app.registry.stream_groups()
    for group in app.registry:
        if group.broadcast:
            yield from ((stream, None) for stream in group.named_streams)
