"""What the manager needs of an app: its projections and stores. And how a replay comes together out of these."""

import asyncio
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from penstock.errors import ConfigurationError, ReplayError, UnknownProjectionError, UnknownReplayError
from penstock.listeners.calls import Dependencies
from penstock.projections import Projection
from penstock.projections._engine._run import Supervised
from penstock.replays._candidates import candidates_of
from penstock.replays._elsewhere_places import Models, is_elsewhere
from penstock.replays._playing import Site
from penstock.replays._records import Record, Records
from penstock.replays.abc import ReadModelCopy
from penstock.replays.copies import copy_of, copy_of_tables
from penstock.store import EventStore
from penstock.store.abc import StoreBackend

__all__ = [
    "Found",
    "Workplace",
    "chosen",
    "copy_here",
    "declared_here",
    "find",
    "found",
    "models_here",
    "open_stores",
    "site_of",
    "stores_of",
]


class Workplace(Protocol):
    """The part of an app that replays are made of."""

    name: str
    dependencies: Dependencies

    @property
    def projections(self) -> Mapping[str, Projection]:
        """All projections by name."""
        ...

    @property
    def store_names(self) -> tuple[str, ...]:
        """The event stores that there are."""
        ...

    def store(self, name: str = "local") -> EventStore:
        """An event store."""
        ...

    async def supervised_projections(self, names: Sequence[str] = ()) -> list[Supervised]:
        """Projections with their handlers compiled for this event loop."""
        ...


def chosen(wanted: Iterable[object], known: Mapping[str, Projection]) -> list[Projection]:
    """The projections that are meant: by name, as ``module:Class`` of handlers or ``module:variable``, or as such.

    Nothing is imported for it. Raises `UnknownProjectionError`, and `ConfigurationError` if none are named.
    """
    items = [wanted] if isinstance(wanted, str) else [*wanted]
    if not items:
        raise ConfigurationError("a replay needs at least one projection; name it")
    found = {projection.name: projection for each in items for projection in _meant(each, known)}
    return [found[name] for name in sorted(found)]


def _meant(wanted: object, known: Mapping[str, Projection]) -> Sequence[Projection]:
    if isinstance(wanted, Projection):
        if known.get(wanted.name) is not wanted:
            raise _unknown(wanted.name, known)
        return [wanted]
    if isinstance(wanted, str) and wanted in known:
        return [known[wanted]]
    if isinstance(wanted, type):
        matches = [each for each in known.values() if any(h.owner is wanted for h in each.handlers)]
    else:
        matches = [each for each in known.values() if _is_named(str(wanted), each)]
    if not matches:
        raise _unknown(str(wanted), known)
    return matches


def _unknown(name: str, known: Iterable[str]) -> UnknownProjectionError:
    return UnknownProjectionError(name, nearest=_nearest(name, known), declared=sorted(known))


def _is_named(text: str, projection: Projection) -> bool:
    """Whether ``module:name`` is a class of the projection's handlers, or a variable that it is in."""
    module, colon, name = text.partition(":")
    if not colon:
        return False
    if any(
        h.owner is not None and (h.owner.__module__, h.owner.__qualname__) == (module, name)
        for h in projection.handlers
    ):
        return True
    value: Any = sys.modules.get(module)
    return value is not None and getattr(value, name, None) is projection


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, [*known], n=1)), None)


def stores_of(workplace: Workplace) -> tuple[str, ...]:
    """The stores in whose databases there may be replays: those that projections write to; without any, all."""
    written = {projection.into for projection in workplace.projections.values()}
    return tuple(name for name in workplace.store_names if name in written) or workplace.store_names


class Found:
    """A replay that was found, with where it was."""

    def __init__(self, backend: StoreBackend, record: Record) -> None:
        self.backend, self.record = backend, record
        self.records = Records(backend.database)

    @property
    def key(self) -> str:
        """Its key."""
        return self.record.replay.key


async def find(workplace: Workplace, key: str) -> Found | None:
    """A replay, in whichever database it is; ``None`` where there is none."""
    for name in stores_of(workplace):
        backend = await workplace.store(name).open()
        record = await asyncio.to_thread(Records(backend.database).find, key)
        if record is not None:
            return Found(backend, record)
    return None


async def found(workplace: Workplace, key: str) -> Found:
    """A replay. Raises `UnknownReplayError`, which names the nearest."""
    there = await find(workplace, key)
    if there is not None:
        return there
    known: list[str] = []
    for name in stores_of(workplace):
        records = Records(workplace.store(name).database)
        known += [each.replay.key for each in await asyncio.to_thread(records.all)]
    raise UnknownReplayError(key, _nearest(key, known))


def declared_here(workplace: Workplace, record: Record) -> list[Projection]:
    """Those of its projections that are declared here in the version that its copy is of."""
    known, versions = workplace.projections, record.generation_versions
    return [
        known[name]
        for name in record.replay.projections
        if name in known and known[name].version == versions.get(name)
    ]


def models_here(workplace: Workplace, record: Record) -> Models:
    """Those of its read models that live elsewhere, as far as they are declared here, in whatever version."""
    known = workplace.projections
    named = {name: known[name].read_model for name in record.replay.projections if name in known}
    return {name: model for name, model in named.items() if is_elsewhere(model)}


def copy_here(workplace: Workplace, there: Found) -> ReadModelCopy:
    """Its copy, with the tables as code defines them as far as that has the right versions, else as recorded."""
    record, live = there.record, there.backend.database
    replay, declared = record.replay, declared_here(workplace, record)
    if len(declared) == len(replay.projections):
        return copy_of(replay.key, declared, live=live, part=replay.part)
    return copy_of_tables(
        replay.key, record.tables, live=live, projections=replay.projections, part=replay.part
    )


async def open_stores(workplace: Workplace, projections: Iterable[Projection]) -> dict[str, StoreBackend]:
    """The stores that these read and write, open, by name."""
    names = sorted({name for each in projections for name in (each.store, each.into)})
    return {name: await workplace.store(name).open() for name in names}


async def site_of(workplace: Workplace, there: Found) -> Site:
    """A replay with all that works on it here.

    Raises:
        ReplayError: A projection is not declared here, or in another version than the copy is of.
    """
    replay = there.record.replay
    declared = declared_here(workplace, there.record)
    for name in replay.projections:
        if not any(each.name == name for each in declared):
            raise _not_here(there.record, name, workplace.projections)
    stores = await open_stores(workplace, declared)
    copy = copy_of(replay.key, declared, live=there.backend.database, part=replay.part)
    supervised = await workplace.supervised_projections([each.name for each in declared])
    candidates = candidates_of(supervised, copy, replay.part)
    return Site(replay.key, there.records, copy, candidates, stores, there.backend)


def _not_here(record: Record, name: str, known: Mapping[str, Projection]) -> ReplayError:
    version = record.generation_versions.get(name)
    if name not in known:
        return ReplayError(
            f"replay {record.replay.key!r} is of projection {name!r}, which is not declared here; "
            "run this with the app that declares it"
        )
    return ReplayError(
        f"the copy of replay {record.replay.key!r} is of version {version} of projection {name!r}, and the code here "
        f"is of version {known[name].version}; run this with the code of that version, or create another replay"
    )
