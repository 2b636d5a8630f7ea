"""Where projections and relays are recorded: in which database, as which copy."""

import asyncio
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from penstock.app import App
from penstock.config import LOCAL_STORE
from penstock.errors import PenstockError, UnknownProjectionError
from penstock.operations._projecting_values import Found
from penstock.operations._relays_of_streams import StreamRelays
from penstock.operations._stores import Stores, rows_of
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, ProjectionKind, ProjectionPlan, ProjectionStatus
from penstock.projections.control import ProjectionControl
from penstock.relays import _tokens
from penstock.replays._records import Records, awaited_versions
from penstock.store.abc import EventFilter, EventReader

__all__ = ["Found", "Places"]


class Places:
    """The databases of an app's stores, as far as they are there, asked for what is recorded of projections.

    Without *connect* no server is asked how far the streams go that relays read.
    """

    def __init__(self, app: App, *, connect: bool = True) -> None:
        self._app = app
        self._connect = connect
        self.stores = Stores(app)

    async def look(
        self, kind: ProjectionKind | None, *, streams: bool = True
    ) -> tuple[list[Found], list[str]]:
        """All that are recorded, by name, and what kept some store or stream from being looked at.

        Without *streams* the lag of relays out of streams is left out, and no server is asked.
        """
        readers: dict[str, Callable[[], EventReader]] = {}
        problems = _wrongly_declared(self._app)
        for place in self.stores.all():
            if place.exists:
                try:
                    readers[place.name] = (await self.stores.opened(place.name)).reader
                except PenstockError as failure:
                    problems.append(f"store {place.name!r}: {failure}")
        found: list[Found] = []
        relays = StreamRelays(self._app) if streams and self._connect and kind != "projection" else None
        for name in list(readers):
            found += [
                each
                for each in await self._look_into(name, readers, relays)
                if kind in (None, each.status.kind)
            ]
        problems += relays.problems if relays is not None else []
        return sorted(found, key=lambda each: (each.name, each.place)), problems

    async def named(
        self, names: Sequence[str], kind: ProjectionKind | None, *, streams: bool = False
    ) -> list[Found]:
        """Those of these names, or all. Raises `UnknownProjectionError`."""
        found, _ = await self.look(kind, streams=streams)
        if not names:
            return found
        known = {each.name for each in found}
        for name in names:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1)
                raise UnknownProjectionError(name, nearest=nearest[0] if nearest else None)
        return [each for each in found if each.name in names]

    async def supervised(self, found: Found) -> list[Supervised]:
        """It, ready to be worked with here. Raises `UnknownProjectionError` where no code declares it."""
        relay = self._app.relays.get(found.name)
        if relay is None:
            return await self._app.supervised_projections([found.name])
        parts = await self._app._relay_parts([relay])  # pyright: ignore[reportPrivateUsage]
        return [each for each in parts.supervised if each.generation == found.generation]

    async def let_go(self, found: Found) -> None:
        """Forget what a store has noted of a relay out of it, for which it keeps events."""
        source = found.status.source
        if source not in self._app.store_names or not self.stores.where(source).exists:
            return
        database = (await self.stores.opened(source)).database

        def forget() -> None:
            with (
                closing(database.connect(application="penstock operations")) as connection,
                transaction(database, connection),
            ):
                _tokens.forget(database, connection, found.name)

        await asyncio.to_thread(forget)

    def control(self, found: Found) -> ProjectionControl:
        """What tells it what to do."""
        return ProjectionControl(self.stores.database(found.store), generation=found.generation)

    async def state(self, found: Found) -> ProjectionStatus | None:
        """How it stands now, its lag left out; ``None`` when it is gone."""
        plans = [plan for plan in _declared(self._app) if plan.name == found.name]
        told = await self.control(found).statuses({}, plans=plans)
        return next((each for each in told if each.name == found.name), None)

    async def is_asked(self, found: Found) -> bool:
        """Whether a request to it waits for an answer."""
        asked = await self.rows(
            found.store,
            "SELECT request FROM penstock_projections WHERE projection = ? AND generation = ?",
            (found.name, found.generation),
        )
        return any(request for [request] in asked)

    async def _look_into(
        self,
        store: str,
        readers: Mapping[str, Callable[[], EventReader]],
        relays: StreamRelays | None,
    ) -> list[Found]:
        relayed = await self.rows(
            store, "SELECT DISTINCT generation, source FROM penstock_checkpoints WHERE kind = 'relay'"
        )
        plans = [(LIVE, plan) for plan in _declared(self._app) if plan.target == store]
        if relays is not None:
            of_streams = await relays.plans(store)
            plans += of_streams
            sources = [*(source for _, source in relayed), *(plan.source for _, plan in of_streams)]
            readers = {**readers, **await relays.readers(sources)}
        is_known = bool(self._app.projections)
        records = Records(self.stores.database(store))
        awaited = awaited_versions(await asyncio.to_thread(records.all)) if is_known else ()
        found: list[Found] = []
        generations = [*(generation for generation, _ in relayed), *(generation for generation, _ in plans)]
        for generation in sorted({LIVE, *generations}):
            control = ProjectionControl(self.stores.database(store), generation=generation)
            meant = [plan for of, plan in plans if of == generation]
            for status in await control.statuses(readers, plans=meant, awaited=awaited):
                # Without the app's code nothing can be said to be declared nowhere.
                told = status if is_known else replace(status, declared=True)
                found.append(Found(store, generation, told))
        return found

    async def rows(self, store: str, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """What a query answers with."""
        return await asyncio.to_thread(rows_of, self.stores.database(store), sql, parameters)


def _wrongly_declared(app: App) -> list[str]:
    """What is wrong with relays; of those that settings alone seem to get wrong, code may say the rest."""
    declared = app._declared_relays  # pyright: ignore[reportPrivateUsage]
    return [str(failure) for name, failure in app.planned_relays()[1].items() if name in declared]


def _declared(app: App) -> Iterator[ProjectionPlan]:
    """What settings declare, and code as far as it is loaded."""
    for name, declared in app.settings.consuming.items():
        if name not in app.projections:
            said = declared.options
            yield ProjectionPlan(
                name,
                source=said["store"],
                target=said.get("into", LOCAL_STORE),
                wanted=EventFilter(tuple(said.get("streams", ())), tuple(said.get("categories", ()))),
                mode=said.get("mode", "background"),
                on_failure=said.get("on_failure", "halt"),
            )
    for projection in app.projections.values():
        yield projection.plan
    for relay in app.planned_relays()[0].values():
        if relay.kind != "stream to store":
            yield relay.engine_plan()
