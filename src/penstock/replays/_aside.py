"""What a manager does in throw-away copies: comparing versions, and looking back in time. Nothing live is touched."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.replays._managing import Say, silent
from penstock.replays._workplace import Workplace
from penstock.replays.at import Moment, ReadModelAt, read_model_at
from penstock.replays.diffing import Chosen, Comparison, Difference, diff

__all__ = ["LooksAside", "SyncLooksAside", "SyncReadModelAt"]


class LooksAside:
    """The part of `ReplayManager` that needs no replay."""

    _workplace: Workplace

    def at(
        self,
        projections: Sequence[object] | str,
        *,
        position: int | None = None,
        time: datetime | None = None,
        key: str | None = None,
        keep: str | Path = "",
        build_in: str = "",
    ) -> AbstractAsyncContextManager[ReadModelAt]:
        """A throw-away copy of read models as they were at a position, or at a time by when events were recorded.

        ::

            async with app.replays.at("totals", position=1_000) as then:
                rows = then.query("SELECT * FROM totals WHERE customer = ?", ["ann"])

        Args:
            projections: Names, ``module:Class`` of handlers, or projections, of one store.
            position: Events up to here.
            time: Events that were recorded by then; a time with a zone.
            key: Only events of this key, which is quick where a row depends on those of its own key alone.
            keep: A SQLite file that is made, and stays.
            build_in: A URL of PostgreSQL, where it is built in a schema of its own in place of a SQLite file.

        Raises, when the block begins:
            UnknownProjectionError: There is none of that name.
            UsageError: The moment is none, or there is a file to be kept already.
            ReplayError: It cannot be built, or a handler failed.
        """
        named = (projections,) if isinstance(projections, str) else tuple(projections)
        return read_model_at(
            self._workplace, Moment(named, position, time, key, str(keep) if keep else "", build_in)
        )

    async def diff(
        self,
        projections: Sequence[str] | str,
        before: str = "HEAD",
        after: str = ".",
        *,
        store: str = "",
        events: str | Path = "",
        sample: float | None = None,
        keys: Sequence[str] = (),
        through: int | None = None,
        build_in: str = "",
        rows: int = 20,
        app: str = "",
        config: str = "",
        on_progress: Say | None = None,
    ) -> Difference:
        """What two versions make of the same events, where it is not the same.

        Both play them into a throw-away database each. A version is a revision of the git repository that the current
        folder is in, an app (``module:app``), ``projection:NAME`` of this app, or ``.``, which is this app as it is.

        Args:
            projections: Names.
            before: The one.
            after: The other.
            store: The store that has the events; left out, the one that the projections read.
            events: A file that ``penstock store export`` wrote, in place of a store.
            sample: A share of the keys, whose events are all played; the same ones in both.
            keys: Events of these keys only.
            through: Events up to this position only.
            build_in: A URL of PostgreSQL, where both are built in schemas of their own in place of SQLite files.
            rows: How many differing rows of each table are kept.
            app: How the app of a revision is named (``module:app``), where it is not found by itself.
            config: The settings file of a revision, where it is not found by itself.
            on_progress: Told what is being done, in words.

        Raises:
            UsageError: A version is nothing that can be built, or there are no events to be had.
            UnknownProjectionError: This app has none of that name.
            ReplayError: A side could not be built; it says which and why.
        """
        names = (projections,) if isinstance(projections, str) else tuple(projections)
        comparison = Comparison(
            names,
            before,
            after,
            store=store,
            events=str(events) if events else "",
            chosen=Chosen(through or 0, sample=sample, keys=tuple(keys)),
            build_in=build_in,
            rows=rows,
            app=app,
            config=config,
        )
        return await diff(self._workplace, comparison, say=on_progress or silent)


_Run = Callable[[Coroutine[Any, Any, Any]], Any]


class SyncReadModelAt:
    """`ReadModelAt` for synchronous code."""

    def __init__(self, run: _Run, then: ReadModelAt) -> None:
        self._run = run
        self._then = then

    @property
    def position(self) -> int:
        """The events of which it is made are up to here."""
        return self._then.position

    @property
    def tables(self) -> tuple[str, ...]:
        """What can be queried."""
        return self._then.tables

    @property
    def connection(self) -> Any:
        """A connection of the driver that only reads."""
        return self._then.connection

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """The rows of one statement that reads; see `ReadModelAt.query`."""
        return self._then.query(sql, parameters)

    def difference(self, *, rows: int = 20) -> Difference:
        """What is not the same as now; see `ReadModelAt.difference`."""
        found: Difference = self._run(self._then.difference(rows=rows))
        return found


class SyncLooksAside:
    """`LooksAside` for synchronous code."""

    _run: _Run
    _replays: Any

    @contextmanager
    def at(self, projections: Sequence[object] | str, **options: Any) -> Iterator[SyncReadModelAt]:
        """A throw-away copy of read models as they were; see `ReplayManager.at`."""
        making = self._replays.at(projections, **options)
        then = self._run(_entered(making))
        try:
            yield SyncReadModelAt(self._run, then)
        finally:
            self._run(_left(making))

    def diff(self, projections: Sequence[str] | str, *versions: str, **options: Any) -> Difference:
        """What two versions make of the same events; see `ReplayManager.diff`."""
        found: Difference = self._run(self._replays.diff(projections, *versions, **options))
        return found


async def _entered(making: AbstractAsyncContextManager[ReadModelAt]) -> ReadModelAt:
    return await making.__aenter__()


async def _left(making: AbstractAsyncContextManager[ReadModelAt]) -> None:
    await making.__aexit__(None, None, None)
