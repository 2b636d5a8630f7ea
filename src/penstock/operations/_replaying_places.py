"""Where the replays of an app are: the databases that are there and answer, each asked for itself."""

import asyncio
import difflib
from collections.abc import Mapping, Sequence

from penstock.app import App
from penstock.errors import PenstockError
from penstock.operations._stores import Stores
from penstock.projections import Projection
from penstock.projections._engine._run import Supervised
from penstock.replays._records import Records
from penstock.replays._switching import read_live_versions
from penstock.replays._workplace import stores_of
from penstock.replays.abc import Replay
from penstock.replays.manager import ReplayManager
from penstock.store import EventStore

__all__ = ["ReplayPlaces"]


class ReplayPlaces:
    """The databases of an app's stores, as far as they are there. Nothing is made by looking."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stores = Stores(app)
        self._away: PenstockError | None = None

    async def reachable(self) -> tuple[list[str], list[str]]:
        """The stores that are there and answer, and why others do not."""
        names: list[str] = []
        problems: list[str] = []
        for place in self._stores.all():
            if not place.exists:
                continue
            try:
                await self._stores.opened(place.name)
            except PenstockError as failure:
                self._away = failure
                problems.append(f"store {place.name!r}: {failure}")
            else:
                names.append(place.name)
        return names, problems

    def raise_what_is_away(self) -> None:
        """Raise what the last store said that did not answer, if one did not."""
        if self._away is not None:
            raise self._away

    def manager_in(self, store: str) -> ReplayManager:
        """The replays in the database of one store, for looking at them."""
        return ReplayManager(_OneStore(self._app, store))

    def manager_of(self, replay: Replay) -> ReplayManager:
        """What works on a replay: the app's own manager, which may have others play for it."""
        return self._app.replays if replay.store in stores_of(self._app) else self.manager_in(replay.store)

    async def live_versions(self, replay: Replay) -> Mapping[str, int]:
        """The version of each of its projections that is live."""
        records = Records(self._stores.database(replay.store))
        return await asyncio.to_thread(read_live_versions, records, replay.projections)

    async def nearest(self, key: str, stores: Sequence[str]) -> str | None:
        """The key there is that looks most like this one."""
        known: list[str] = []
        for name in stores:
            records = await asyncio.to_thread(Records(self._stores.database(name)).all)
            known += [each.replay.key for each in records]
        return next(iter(difflib.get_close_matches(key, known, n=1)), None)


class _OneStore:
    """An app whose replays are looked for in one store only; a `Workplace`."""

    def __init__(self, app: App, store: str) -> None:
        self._app, self._store = app, store
        self.name, self.dependencies = app.name, app.dependencies

    @property
    def projections(self) -> Mapping[str, Projection]:
        """All projections by name."""
        return self._app.projections

    @property
    def store_names(self) -> tuple[str, ...]:
        """Where replays are looked for."""
        return (self._store,)

    def store(self, name: str = "local") -> EventStore:
        """Any event store of the app."""
        return self._app.store(name)

    async def supervised_projections(self, names: Sequence[str] = ()) -> list[Supervised]:
        """Projections with their handlers compiled for this event loop."""
        return await self._app.supervised_projections(names)
