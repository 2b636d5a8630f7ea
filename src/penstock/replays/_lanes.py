"""Lanes: a build by several processes at once, each with the events of its own keys.

A lane is run like a generation of its own, with a checkpoint of its own, over the same copy: so one that was killed
goes on from its last page. When all lanes have come to the same position, their checkpoints become the copy's in
one transaction, and the engine goes on from there alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import ConfigurationError, ReplayError
from penstock.projections import Projection
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._catching_up import catch_up
from penstock.projections._engine._run import ProjectionRun
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, Handlers, Page
from penstock.replays._candidates import LARGER
from penstock.replays._connecting import connected
from penstock.replays.abc import Candidate, ReadModelCopy
from penstock.store.abc import EventReader, Horizon, Lane, StoreBackend
from penstock.store.database import Connection

if TYPE_CHECKING:
    from penstock.replays._playing import Site

__all__ = ["check_processes", "forget", "merge", "play_lane", "prepare"]

_MARK: Final = "\x02lane "
"""No key of a replay has such a character, so no generation has such a name."""


def check_processes(projections: Sequence[Projection], processes: int) -> None:
    """Raises `ConfigurationError` if these cannot be played by so many processes."""
    if processes < 1:
        raise ConfigurationError(f"a replay is played by at least 1 process, not by {processes}")
    if processes == 1:
        return
    for each in projections:
        if each.is_fold:
            raise ConfigurationError(
                f"projection {each.name!r} folds a state, which is one for all keys; replay it with 1 process"
            )
        if not each.by_key:
            raise ConfigurationError(
                f"projection {each.name!r} does not say that its effects are by key, so {processes} processes might "
                "write the same rows in any order; declare it with by_key=True if each row is of one key, or replay "
                "it with 1 process"
            )


def _label(key: str, lane: int) -> str:
    return f"{key}{_MARK}{lane}"


# -- all lanes ----------------------------------------------------------------------------------------------------


def prepare(site: "Site", of: int, worth: int) -> Mapping[str, int] | None:
    """How far lanes are to play in each store, with their checkpoints made; ``None``: it is not worth it.

    Lanes that a former play has left go on from where they are.
    """
    database, key = site.copy.database, site.key
    ends: dict[str, int] = {}
    for name in sorted({each.plan.source for each in site.candidates}):
        with closing(site.stores[name].reader()) as reader:
            ends[name] = reader.horizon().position
    with (
        connected(database) as connection,
        transaction(database, connection),
    ):
        distances: list[int] = []
        has_lanes = False
        for each in site.candidates:
            found = _checkpoints.read(database, connection, each.plan.name, key)
            if found is None:
                raise ReplayError(f"the copy of replay {key!r} is gone; create it again")
            distances.append(ends[each.plan.source] - found.position)
            left = _checkpoints.read(database, connection, each.plan.name, _label(key, 0))
            has_lanes = has_lanes or left is not None
        if not has_lanes and max(distances, default=0) < worth:
            return None
        for each in site.candidates:
            found = _checkpoints.read(database, connection, each.plan.name, key)
            for lane in range(of):
                label = _label(key, lane)
                if _checkpoints.read(database, connection, each.plan.name, label) is not None:
                    continue
                made = _checkpoints.ensure(
                    database,
                    connection,
                    each.plan,
                    label,
                    declared=[one.plan.name for one in site.candidates],
                )
                position = 0 if found is None else found.position
                _checkpoints.move(database, connection, made, replace(made, position=position))
    return ends


def merge(site: "Site", of: int, ends: Mapping[str, int]) -> None:
    """Make the lanes' checkpoints the copy's, in one transaction. Raises `ReplayError` if one is not at the end."""
    database, key = site.copy.database, site.key
    with (
        connected(database) as connection,
        transaction(database, connection),
    ):
        for each in site.candidates:
            name, end = each.plan.name, ends[each.plan.source]
            whole = _checkpoints.read(database, connection, name, key)
            for lane in range(of):
                label = _label(key, lane)
                found = _checkpoints.read(database, connection, name, label)
                if whole is None or found is None or found.position != end:
                    raise ReplayError(
                        f"lane {lane + 1} of replay {key!r} is at {found and found.position} and not at {end}; "
                        "start it again"
                    )
                database.execute(
                    connection,
                    "UPDATE penstock_projection_failures SET generation = ? "
                    "WHERE projection = ? AND generation = ?",
                    (key, name, label),
                )
                _checkpoints.remove(database, connection, name, label)
            if whole is not None:
                _checkpoints.move(database, connection, whole, replace(whole, position=end))


def forget(copy: ReadModelCopy) -> None:
    """Remove what lanes have left, where the copy is emptied or removed. Harmless to repeat."""
    # A file takes its rows with it; a schema's are beside the live ones.
    database = copy.database if copy.exists() else copy.live_database
    mark = f"{copy.key}{_MARK}"
    with (
        connected(database) as connection,
        transaction(database, connection),
    ):
        for table in ("penstock_projection_failures", "penstock_projections", "penstock_checkpoints"):
            database.execute(
                connection, f"DELETE FROM {table} WHERE substr(generation, 1, ?) = ?", (len(mark), mark)
            )


# -- one lane -----------------------------------------------------------------------------------------------------


async def play_lane(
    site: "Site", lane: Lane, ends: Mapping[str, int], begun: Callable[[ProjectionRun], None]
) -> None:
    """Handle the events of one lane up to *ends*; *begun* is given each projection's run. Raises as `catch_up`."""

    async def caught_up(candidate: Candidate) -> None:
        plan = replace(candidate.plan, wanted=replace(candidate.plan.wanted, lane=lane))
        await catch_up(
            plan,
            _LaneHandlers(candidate.handlers, site.key),
            source=_UpTo(site.stores[plan.source], ends[plan.source]),  # type: ignore[arg-type]
            target=site.target,
            generation=_label(site.key, lane.number),
            database=site.copy.building,
            begun=begun,
            most=plan.page_events * LARGER,
            is_made=True,
        )

    async with asyncio.TaskGroup() as tasks:
        for candidate in site.candidates:
            tasks.create_task(caught_up(candidate))


@dataclass(frozen=True, slots=True)
class _UpTo:
    """A store whose readers see no further than the end that all lanes have in common."""

    store: StoreBackend
    end: int

    async def open(self) -> None:
        await self.store.open()

    def reader(self) -> EventReader:
        reader: Any = _ReaderUpTo(self.store.reader(), self.end)
        return reader  # type: ignore[no-any-return]


class _ReaderUpTo:
    def __init__(self, reader: EventReader, end: int) -> None:
        self._reader, self._end = reader, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def horizon(self) -> Horizon:
        found = self._reader.horizon()
        return Horizon(min(found.position, self._end), min(found.last, self._end))


class _LaneHandlers:
    """The handlers of a copy, for which the checkpoint of their page is another one than they are told."""

    def __init__(self, handlers: Handlers, key: str) -> None:
        self._handlers, self._key = handlers, key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handlers, name)

    @property
    def names(self) -> frozenset[str] | None:
        """The event names that have a handler."""
        return self._handlers.names

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """Handle one page; for the handlers it is one of the copy."""
        return self._handlers.begin(connection, state=state, generation=self._key)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """A lane alone is never emptied."""
        raise ReplayError(f"a lane of replay {self._key!r} cannot be emptied alone; start it from zero")

    def prepare(self, connection: Connection) -> None:
        """The copy was made before."""
