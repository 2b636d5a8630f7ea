"""A read model as it was: a throw-away copy at a position or a time, to be queried, and compared with now.

Nothing of it touches the live read model or its checkpoint. The copy is made by the present handlers out of the events
up to there, so it shows what they would have shown then.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import UsageError
from penstock.projections import Projection
from penstock.replays._workplace import Workplace, chosen
from penstock.replays.diffing._building import Built, build, go_on
from penstock.replays.diffing._comparing import compared
from penstock.replays.diffing._events import Chosen, Source, checked, position_at, us_of
from penstock.replays.diffing._places import Place, live_file, only_store, scratch_at
from penstock.replays.diffing._scratch import Scratch, ScratchFile
from penstock.replays.diffing._workrooms import clear_leftovers, workroom
from penstock.replays.diffing.values import Difference, Side
from penstock.store._quoting import quoted
from penstock.store.abc import EventReader, StoreBackend

__all__ = ["Moment", "PastTable", "ReadModelAt", "read_model_at"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Which moment is meant, and of what."""

    projections: tuple[object, ...]
    position: int | None = None
    time: datetime | None = None
    """What was recorded by then; with a zone."""
    key: str | None = None
    """Of events of this key only."""
    keep: str = ""
    """A file to be made and kept, in place of one that goes away."""
    build_in: str = ""
    """A URL of PostgreSQL, in place of a SQLite file."""


@dataclass(frozen=True, slots=True)
class PastTable:
    """Some rows of a table."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    count: int
    """How many there are."""


class ReadModelAt:
    """A read model at a moment; made by `ReplayManager.at`. It can be read until its block ends."""

    def __init__(
        self,
        workplace: Workplace,
        projections: Sequence[Projection],
        scratch: Scratch,
        source: Source,
        built: Built,
        work: Path,
        place: Place,
    ) -> None:
        self._workplace, self._projections = workplace, projections
        self._scratch, self._source, self._work, self._place = scratch, source, work, place
        self._built = built
        self._connection: Any = None

    @property
    def position(self) -> int:
        """The events of which it is made are up to here."""
        return self._source.chosen.through

    @property
    def events(self) -> int:
        """How many were handled for it."""
        return self._built.events

    @property
    def put_aside(self) -> int:
        """Events that its handlers could not handle and went past, as they are declared to."""
        return self._built.put_aside

    @property
    def tables(self) -> tuple[str, ...]:
        """What can be queried. A fold is in ``state_of_NAME``, with a row for each item of its state."""
        return self._built.tables

    @property
    def connection(self) -> Any:
        """A connection of the driver (``sqlite3``, or ``psycopg`` where it was built in PostgreSQL) that only reads."""
        if self._connection is None:
            self._connection = self._scratch.reading()
        return self._connection

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """The rows of one statement that reads, each with its columns by name. Raises `UsageError` for another one."""
        columns, rows = self.rows(sql, parameters)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def rows(
        self, sql: str, parameters: Sequence[object] = (), *, most: int | None = None
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """The columns and the rows of one statement that reads, *most* at most. Raises `UsageError`."""
        return self._scratch.query(self.connection, sql, parameters, most=most)

    def table(self, name: str, *, most: int) -> PastTable:
        """The first rows of a table, in the order of its key as far as it has one."""
        table = quoted(name)
        _, [(count,)] = self.rows(f"SELECT count(*) FROM {table}")
        key = ", ".join(str(place) for place in self._scratch.key_places(self.connection, name))
        order = f" ORDER BY {key}" if key else ""
        columns, rows = self.rows(f"SELECT * FROM {table}{order}", most=most)
        return PastTable(name, columns, tuple(rows), count)

    async def difference(self, *, rows: int = 20) -> Difference:
        """What is not the same as now: between then (`Difference.before`) and the end of the store (``after``).

        Now is made by playing on to the end of the store, in a second throw-away copy.
        """
        backend = await self._workplace.store(only_store(self._projections)).open()
        end = (await backend.horizon()).position
        source = Source(self._source.open, Chosen(through=end, keys=self._source.chosen.keys))
        with ExitStack() as stack:
            now = await self._now(source, stack)
            built, scratch = now
            before = _side(f"position {self.position}", self._built)
            after = _side("now", built)
            return await asyncio.to_thread(
                compared, self._scratch, scratch, (before, after), through=end, rows=rows
            )

    async def _now(self, source: Source, stack: ExitStack) -> tuple[Built, Scratch]:
        then = self._scratch
        if isinstance(then, ScratchFile) and self._source.chosen.until_us is None:
            path = self._work / f"{uuid.uuid4().hex}.db"
            await asyncio.to_thread(then.copy_to, path)
            scratch = scratch_at(msgspec.structs.replace(self._place, file=str(path)), self._projections)
            stack.callback(scratch.drop)
            built = await go_on(self._workplace, self._projections, scratch, source)
            return replace(built, events=self.events + built.events), scratch
        # What was recorded late may stand below where the copy is, so that going on from there would miss it.
        place = _place(self._place.url, self._place.beside, self._work)
        scratch = scratch_at(place, self._projections)
        stack.callback(scratch.drop)
        return await build(self._workplace, self._projections, scratch, source), scratch

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextlib.asynccontextmanager
async def read_model_at(workplace: Workplace, moment: Moment) -> AsyncIterator[ReadModelAt]:
    """Make a read model as it was at a moment; it goes away with the block, unless it is kept.

    Raises:
        UnknownProjectionError: There is none of that name.
        UsageError: The moment is none, or the file that is to be kept is there already.
        ReplayError: It cannot be built in SQLite, or a handler failed.
    """
    projections = chosen(moment.projections, workplace.projections)
    _check(moment)
    backend = await workplace.store(only_store(projections)).open()
    source = Source(backend.reader, await asyncio.to_thread(_chosen, backend, moment))
    await asyncio.to_thread(clear_leftovers)
    with ExitStack() as stack:
        work = stack.enter_context(workroom("at")).path
        place = _place(moment.build_in, live_file(workplace, projections), work)
        scratch = scratch_at(place, projections)
        stack.callback(scratch.drop)
        built = await build(workplace, projections, scratch, source)
        found = ReadModelAt(workplace, projections, scratch, source, built, work, place)
        stack.callback(found.close)
        if moment.keep and isinstance(scratch, ScratchFile):
            await asyncio.to_thread(scratch.copy_to, Path(moment.keep))
        yield found


def _check(moment: Moment) -> None:
    if (moment.position is None) == (moment.time is None):
        raise UsageError("a moment is a position or a time; say one of them")
    if moment.keep and moment.build_in:
        raise UsageError(
            "what is built in PostgreSQL is not kept; keep a SQLite file, or query it while it is there"
        )
    if moment.keep and not Path(moment.keep).absolute().parent.is_dir():
        raise UsageError(f"{moment.keep} cannot be made, for there is no such folder; make that first")
    if moment.keep and Path(moment.keep).exists():
        raise UsageError(f"{moment.keep} is there already; name a file that is to be made")


def _chosen(backend: StoreBackend, moment: Moment) -> Chosen:
    """The events of a moment. Raises `UsageError`."""
    keys = () if moment.key is None else (moment.key,)
    reader: EventReader = backend.reader()
    with closing(reader):
        if moment.time is not None:
            us = us_of(moment.time)
            return checked(Chosen(position_at(reader, us), until_us=us, keys=keys))
        position, end = moment.position or 0, reader.horizon().position
        if position > end:
            raise UsageError(f"the store ends at position {end:,}, before {position:,}; name one up to there")
        return checked(Chosen(position, keys=keys))


def _place(build_in: str, beside: str, work: Path) -> Place:
    name = uuid.uuid4().hex[:12]
    if build_in:
        return Place(url=build_in, schema=f"penstock_at_{name}")
    return Place(file=str(work / f"{name}.db"), beside=beside)


def _side(label: str, built: Built) -> Side:
    return Side(label, "", dict(built.versions), built.tables, built.events, built.put_aside, built.took)
