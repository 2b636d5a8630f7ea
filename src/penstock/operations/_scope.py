"""Where operations look: the servers by pool, and what is registered there by settings and by the app's code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.app import App
from penstock.errors import UnknownStreamError, UsageError
from penstock.position import BEGINNING, Start
from penstock.streams.abc import StreamBroker

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
        found: dict[Place, set[str]] = {}
        if app is not None:
            for stream, declared in app.settings.stream_settings.items():
                found.setdefault(Place(declared.pool, stream), set()).update(declared.groups or ())
            for group in app.registry:
                for stream in group.streams:
                    place = Place(_pool_of(app, stream), stream)
                    found.setdefault(place, set()).update(() if group.broadcast else (group.name,))
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

        Raises:
            UnknownStreamError: A stream was named that neither exists nor is registered.
        """
        found = set(self.registered)
        for name, broker in self.pools.items():
            found |= {Place(name, each) for each in await broker.streams()}
        chosen = sorted(
            place for place in found if stream in (None, place.stream) and pool in (None, place.pool)
        )
        if stream is not None and not chosen:
            raise UnknownStreamError(stream)
        return chosen

    def groups_of(self, place: Place) -> frozenset[str]:
        """The groups registered for a stream."""
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
    declared = app.settings.stream_settings.get(stream)
    return declared.pool if declared is not None else _DEFAULT_POOL
