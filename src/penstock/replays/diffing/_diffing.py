"""Comparing two versions: each plays the same events into a throw-away database, then the databases are compared."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from penstock.errors import UsageError
from penstock.replays._workplace import Workplace
from penstock.replays.diffing._builders import Builder, Job
from penstock.replays.diffing._comparing import alike, compared
from penstock.replays.diffing._events import Chosen, checked
from penstock.replays.diffing._exchange import StoreAt
from penstock.replays.diffing._lines import load_lines
from penstock.replays.diffing._places import Place, only_store
from penstock.replays.diffing._sides import Here, asked
from penstock.replays.diffing._workrooms import Workroom, clear_leftovers, workroom
from penstock.replays.diffing.values import Difference, Side
from penstock.store._sqlite._database import SqliteDatabase

__all__ = ["Comparison", "diff"]

Say = Callable[[str], Any]

_NAMES: Final = ("before", "after")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be compared."""

    projections: tuple[str, ...]
    before: str = "HEAD"
    """A revision, ``module:app``, ``projection:NAME``, or ``.`` for the app that asks."""
    after: str = "."
    store: str = ""
    """Where events come from; empty: the store that the projections read."""
    events: str = ""
    """A file that an export wrote, in place of a store."""
    chosen: Chosen = field(default_factory=Chosen)
    build_in: str = ""
    """A URL of PostgreSQL, in place of SQLite files."""
    rows: int = 20
    """How many differing rows of each table are shown."""
    app: str = ""
    """How the app of a revision is named, as on the command line; empty: as it is found there."""
    config: str = ""
    """The settings file of a revision."""


async def diff(workplace: Workplace, comparison: Comparison, *, say: Say = lambda text: None) -> Difference:
    """Build both sides at the same time and compare them. *say* is told what is being done.

    Raises:
        UsageError: A side is nothing that can be built, or there are no events to be had.
        UnknownProjectionError: This app has none of that name.
        ReplayError: A side could not be built; it says which and why.
        StoreUnavailableError, StoreRefusedError: A database went away.
    """
    checked(comparison.chosen)
    folder = Path.cwd()
    sides = [asked(text, folder) for text in (comparison.before, comparison.after)]
    await asyncio.to_thread(clear_leftovers)
    with ExitStack() as stack:
        room = stack.enter_context(workroom("diff"))
        work = room.path
        store, chosen = await _events(workplace, comparison, work, say)
        job = Job(comparison.projections, store, chosen, folder, comparison.app, comparison.config)
        builders: list[Builder] = []
        for side, name in zip(sides, _NAMES, strict=True):
            (work / name).mkdir()
            place = _place(comparison, work / name)
            builders.append(Builder(workplace, side, job, place, Workroom(work / name, room.locks)))
            stack.callback(builders[-1].drop)
        say("building both")
        before, after = await _both(*(builder.build() for builder in builders))
        if not (before.events or after.events or before.put_aside or after.put_aside):
            raise UsageError(
                "none of the chosen events is for these projections, so nothing could be compared; "
                "name a store or a file that has some (--store NAME, --events FILE)"
            )
        if any(isinstance(side, Here) and side.projection for side in sides):
            after = await asyncio.to_thread(_renamed, builders[1], before, after)
        say("comparing")
        return await asyncio.to_thread(
            compared,
            builders[0].scratch,
            builders[1].scratch,
            (before, after),
            through=chosen.through,
            rows=comparison.rows,
        )


def _place(comparison: Comparison, work: Path) -> Place:
    if comparison.build_in:
        return Place(url=comparison.build_in, schema=f"penstock_diff_{uuid.uuid4().hex[:12]}")
    return Place(file=str(work / "read_model.db"))


def _renamed(builder: Builder, before: Side, after: Side) -> Side:
    """The second side with its tables under the names of the first."""
    names = alike(before.tables, after.tables)
    for name, new in names.items():
        builder.scratch.rename(name, new)
    return replace(after, tables=tuple(names.get(name, name) for name in after.tables))


async def _events(
    workplace: Workplace, comparison: Comparison, work: Path, say: Say
) -> tuple[StoreAt, Chosen]:
    """Where both sides read, and up to where, so that both read the same."""
    if comparison.events and comparison.store:
        raise UsageError("events come from a store or from a file; name one of them")
    chosen = comparison.chosen
    if comparison.events:
        say(f"reading {comparison.events}")
        database = SqliteDatabase("events", work / "events.db")
        last = await asyncio.to_thread(load_lines, Path(comparison.events), database, chosen)
        return StoreAt(database.url), replace(chosen, through=last)
    known = workplace.projections
    declared = [known[name] for name in comparison.projections if name in known]
    name = comparison.store or (only_store(declared) if declared else "local")
    backend = await workplace.store(name).open()
    position = (await backend.horizon()).position
    schema: str | None = getattr(backend.database, "schema", None)
    through = min(chosen.through or position, position)
    return StoreAt(backend.database.url, schema), replace(chosen, through=through)


async def _both(*builds: Coroutine[Any, Any, Side]) -> list[Side]:
    """What both are. When one fails, the other is ended."""
    tasks = [asyncio.create_task(each) for each in builds]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
