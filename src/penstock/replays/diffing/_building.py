"""Building a throw-away copy: the engine's own pages over chosen events, into a database that nobody else knows.

The generation is never the live one, so derived streams stay silent, and handlers are guarded: one that passes by its
session to write the live read model is refused.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, cast

import msgspec

from penstock.errors import ConfigurationError, IsolationError, PenstockError, ReplayError
from penstock.projections import Projection
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, ProjectionRun, Supervised, Waiting
from penstock.projections._engine._sql import commit, one
from penstock.projections.abc import ProjectionPlan
from penstock.replays._candidates import narrowed
from penstock.replays._elsewhere_places import is_elsewhere
from penstock.replays._guarding import GuardedHandlers
from penstock.replays._sqlite._statements import quoted
from penstock.replays._workplace import Workplace
from penstock.replays.abc import Part
from penstock.replays.copies import copied_tables
from penstock.replays.diffing._events import Source
from penstock.replays.diffing._portable import check_portable, hint
from penstock.replays.diffing._scratch import Scratch
from penstock.retry import Retry
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Dialect

__all__ = ["Built", "build", "files_of", "go_on"]

GENERATION: Final = "throw-away"
_LEASE: Final = timedelta(days=1)
"""Nobody else knows the database."""
_PAGE_TIME: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Built:
    """What was made."""

    tables: tuple[str, ...]
    versions: Mapping[str, int]
    events: int
    put_aside: int
    took: timedelta


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A projection as it is run here."""

    supervised: Supervised
    live: Dialect
    """What its live read model is in."""


async def build(
    workplace: Workplace,
    projections: Sequence[Projection],
    scratch: Scratch,
    source: Source,
) -> Built:
    """Make *scratch*, and have the handlers of *projections* handle the events of *source* there.

    Cancelled, it ends after a page.

    Raises:
        ReplayError: A table cannot be made there, or a handler failed; the live read model is as it was.
        ConfigurationError: A handler asks for what cannot be given there.
    """
    candidates = await _candidates(workplace, projections, scratch, source)
    tables = copied_tables(projections)
    return await _in_thread(lambda stopping: _made(scratch, tables, candidates, source, stopping))


async def go_on(
    workplace: Workplace, projections: Sequence[Projection], scratch: Scratch, source: Source
) -> Built:
    """Handle what *source* has besides, in one that was built before. Raises as `build`."""
    candidates = await _candidates(workplace, projections, scratch, source)
    return await _in_thread(lambda stopping: _played(scratch, candidates, source, stopping))


async def _in_thread(work: "Callable[[Callable[[], bool]], Built]") -> Built:
    """What *work* returns; cancelled meanwhile, it is asked to stop and waited for."""
    stopping = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stopping.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _candidates(
    workplace: Workplace, projections: Sequence[Projection], scratch: Scratch, source: Source
) -> list[_Candidate]:
    found: list[_Candidate] = []
    dependencies, files = workplace.dependencies, files_of(workplace)
    dependencies.check()
    dialect = scratch.database.dialect
    for projection in projections:
        if is_elsewhere(projection.read_model):
            # Even asking it whether it is there would be asking what is live.
            raise ReplayError(
                f"the read model of projection {projection.name!r} lives elsewhere, so no throw-away copy of it can be "
                "made; create a replay, and look at its copy by means of your own"
            )
        live = workplace.store(projection.into).database.dialect
        check_portable(projection, dialect)
        try:
            handlers = projection.compile(dependencies, target=scratch.backend, source=workplace.name)
        except ConfigurationError as failure:
            raise ConfigurationError(f"{failure}{hint(failure, live, dialect)}") from failure
        # Handlers run in threads; what belongs to an event loop is made on this one.
        await dependencies.make_shared(handlers.routes.needs)
        plan = _plan(narrowed(projection.plan, Part(keys=source.chosen.keys)))
        guarded = GuardedHandlers(handlers, _Fence(files))
        found.append(_Candidate(Supervised(plan, guarded, GENERATION, scratch.database), live))
    return found


def _plan(plan: ProjectionPlan) -> ProjectionPlan:
    """Nothing comes and goes here, so what fails is not tried again."""
    on_failure = "halt" if plan.on_failure == "retry" else plan.on_failure
    return replace(plan, on_failure=on_failure, retry=Retry(attempts=1), page_time=_PAGE_TIME)


def files_of(workplace: Workplace) -> frozenset[str]:
    """The real paths of the files that the app's stores are in."""
    databases: list[Any] = [workplace.store(name).database for name in workplace.store_names]
    return frozenset(os.path.realpath(each.path) for each in databases if each.dialect == "sqlite")


@dataclass(frozen=True, slots=True)
class _Fence:
    """Keeps handlers in the throw-away database; a `Fence`."""

    files: frozenset[str]

    def meant(self, projection: str, failure: BaseException) -> IsolationError | None:
        """Nothing: what a database refuses here is told as the handler's failure."""
        return None

    def check(self, projection: str, connection: Connection) -> None:
        """Nothing: what could be written besides may only be read."""


def _made(
    scratch: Scratch,
    tables: Sequence[Any],
    candidates: Sequence[_Candidate],
    source: Source,
    is_stopping: Callable[[], bool],
) -> Built:
    try:
        scratch.make(tables, [each.supervised.handlers for each in candidates])
    except PenstockError:
        raise
    except Exception as failure:
        names = ", ".join(repr(each.supervised.plan.name) for each in candidates)
        says = hint(failure, candidates[0].live, scratch.database.dialect)
        raise ReplayError(f"the tables of {names} cannot be made: {failure}{says}") from failure
    return _played(scratch, candidates, source, is_stopping)


def _played(
    scratch: Scratch,
    candidates: Sequence[_Candidate],
    source: Source,
    is_stopping: Callable[[], bool],
) -> Built:
    began = time.monotonic()
    plans = [each.supervised.plan for each in candidates]
    names = [plan.name for plan in plans]
    handled = sum(_run(scratch, each, source, names, is_stopping) for each in candidates)
    with closing(scratch.database.connect()) as connection:
        for each in candidates:
            _show_state(scratch, connection, each.supervised)
        found = one(scratch.database, connection, "SELECT count(*) FROM penstock_projection_failures")
        connection.rollback()
    return Built(
        tables=scratch.names(),
        versions={plan.name: plan.version for plan in plans},
        events=handled,
        put_aside=int(found[0]),
        took=timedelta(seconds=time.monotonic() - began),
    )


def _run(
    scratch: Scratch,
    candidate: _Candidate,
    source: Source,
    names: Sequence[str],
    is_stopping: Callable[[], bool],
) -> int:
    """How many events were handled."""
    run = ProjectionRun(
        candidate.supervised, scratch.database, source.reader, LeaseTerms(_LEASE), is_stopping, tuple(names)
    )
    try:
        run.open()
        match run.advance(run.horizon()):
            case Waiting(_, failure, event):
                raise _failed(candidate, failure, event) from failure
            case CaughtUp():
                pass
            case _:
                raise asyncio.CancelledError
        return run.handled
    except ReplayError:
        raise
    except Exception as failure:
        raise _failed(candidate, failure, None) from failure
    finally:
        run.close()


def _failed(candidate: _Candidate, failure: BaseException | None, event: StoredEvent | None) -> ReplayError:
    plan, database = candidate.supervised.plan, candidate.supervised.database
    where = "" if event is None else f" at event {event.id} (position {event.position}, {event.name})"
    said = "it stands" if failure is None else f"{type(failure).__name__}: {failure}"
    says = "" if database is None else hint(said, candidate.live, database.dialect)
    return ReplayError(f"projection {plan.name!r} failed{where}: {said}{says}")


def _show_state(scratch: Scratch, connection: Connection, supervised: Supervised) -> None:
    """Put the state of a fold into the table ``state_of_NAME``: a row for each item of a dictionary."""
    database, name = scratch.database, f"state_of_{supervised.plan.name}"
    row = one(
        database,
        connection,
        "SELECT state FROM penstock_checkpoints WHERE projection = ? AND generation = ?",
        supervised.key,
    )
    if row is None or row[0] is None:
        return
    state = msgspec.json.decode(bytes(row[0]))
    items: Iterable[tuple[str, Any]] = [("", state)]
    if isinstance(state, dict):
        items = cast("dict[str, Any]", state).items()
    database.begin(connection)
    database.execute(
        connection, f"CREATE TABLE IF NOT EXISTS {quoted(name)} (key TEXT PRIMARY KEY, value TEXT)"
    )
    database.execute(connection, f"DELETE FROM {quoted(name)}")
    for key, value in items:
        text = msgspec.json.encode(value, order="deterministic").decode()
        database.execute(connection, f"INSERT INTO {quoted(name)} VALUES (?, ?)", (str(key), text))
    commit(database, connection)
