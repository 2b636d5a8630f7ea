"""The one Python API to inspect and repair: what the command line and the dashboard do, they do through this."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from penstock.app import App
from penstock.config import Setting, describe, mask
from penstock.errors import ConfigurationError, InvalidSettingsError, UsageError
from penstock.listeners import AfterAcknowledged
from penstock.operations import _claiming, _failures, _inspecting, _retrying, _tailing
from penstock.operations._archiving import ArchiveOperations
from penstock.operations._databases import DatabaseOperations
from penstock.operations._declared import event_listeners
from penstock.operations._dividing import Dividing
from penstock.operations._failing import both_retried, merged_page
from penstock.operations._failures import FailedWhich
from penstock.operations._failures_of_projections import ProjectionFailures
from penstock.operations._maintaining import Maintaining
from penstock.operations._noting import person
from penstock.operations._parking import Parking
from penstock.operations._projecting import ProjectionOperations
from penstock.operations._projecting_values import ProjectionsFound, trouble_of
from penstock.operations._replaying import ReplayOperations
from penstock.operations._scope import Scope
from penstock.operations._storing import StoreOperations
from penstock.operations._timing import Timing
from penstock.operations._values import (
    EntryView,
    EventListeners,
    FailedDetail,
    FailedPage,
    GroupDetail,
    GroupSummary,
    Moved,
    RetryPlan,
    RetryResult,
    ServerSummary,
    Status,
    StreamDetail,
    StreamSummary,
)
from penstock.operations._workbench import Workbench
from penstock.position import NEW, Start
from penstock.streams.abc import StreamBroker
from penstock.streams.embedded import ServerStatus, server_status, start_server, stop_server

__all__ = ["Operations"]

_RETRIES_AT_ONCE = 10


class Operations(Maintaining, Parking, Workbench, Dividing, Timing):
    """Look at an app's streams, groups and failed messages, and mend them.

    Give it an `App`, whose servers are connected on first use, and whose settings and declarations tell which streams
    and groups are registered; or servers by the names of their pools. With ``connect=False`` no server is asked:
    everything registered is shown as not there yet.

    Every method may raise `BrokerUnavailableError` and `BrokerRefusedError`. Every answer names the pool.
    """

    def __init__(self, on: App | Mapping[str, StreamBroker], *, connect: bool = True) -> None:
        self._app = on if isinstance(on, App) else None
        self._given: Mapping[str, StreamBroker] = {} if isinstance(on, App) else on
        self._connect = connect

    async def _scope(self) -> Scope:
        pools = self._given
        if self._app is not None and self._connect:
            pools = await self._app.brokers()
        return Scope.of(self._app, pools)

    # -- streams and groups -------------------------------------------------------------------------------------

    async def streams(self, *, pool: str | None = None) -> list[StreamSummary]:
        """Every stream that exists or is registered, by pool and name."""
        scope = await self._scope()
        return await _inspecting.stream_summaries(scope, await scope.places(pool=pool))

    async def stream_names(self) -> list[str]:
        """The names of all streams that exist or are registered, sorted."""
        return sorted({place.stream for place in await (await self._scope()).places()})

    async def stream(self, name: str, *, pool: str | None = None) -> StreamDetail:
        """One stream with its groups and cursors. Raises `UnknownStreamError`."""
        scope = await self._scope()
        [place, *_] = await scope.places(name, pool)
        return await _inspecting.stream_detail(scope, place)

    async def groups(self, stream: str | None = None, *, pool: str | None = None) -> list[GroupSummary]:
        """Every group that exists or is registered, by pool, stream and name. Raises `UnknownStreamError`."""
        scope = await self._scope()
        return await _inspecting.group_summaries(scope, await scope.places(stream, pool))

    async def group(self, stream: str, name: str, *, pool: str | None = None) -> GroupDetail:
        """One group with its consumers and oldest pending entries.

        Raises:
            UnknownStreamError: The stream neither exists nor is registered.
            UnknownGroupError: The group neither exists nor is registered.
        """
        scope = await self._scope()
        [place, *_] = await scope.places(stream, pool)
        return await _inspecting.group_detail(scope, place, name)

    async def pending_with(
        self, group: str, consumer: str, *, stream: str | None = None, pool: str | None = None
    ) -> list[Moved]:
        """How much is pending with a consumer, by stream; nothing where no stream has the group."""
        return await _claiming.pending_with(await self._scope(), group, consumer, stream=stream, pool=pool)

    async def claim(
        self,
        group: str,
        source: str,
        target: str,
        *,
        stream: str | None = None,
        pool: str | None = None,
        force: bool = False,
    ) -> list[Moved]:
        """Move all that is pending with one consumer to another, which need not run, and remove the first.

        Nothing where no stream has the group.

        Raises:
            ConsumerBusyError: A living process works as the source, and *force* is not given.
        """
        return await _claiming.claim(
            await self._scope(), group, source, target, stream=stream, pool=pool, force=force
        )

    async def tail(
        self,
        *streams: str,
        pool: str | None = None,
        start: Start = NEW,
        last: int = 0,
        follow: bool = True,
    ) -> AsyncGenerator[EntryView, None]:
        """Entries from *start* on (or the *last* ones there are), then with *follow* every further one as it comes.

        Nothing is acknowledged, and no group moves. An entry that is no message is shown with the reason. A stream
        that does not exist yet is waited for.
        """
        scope = await self._scope()
        places = [scope.place(stream, pool) for stream in dict.fromkeys(streams)]
        places = await scope.with_partitions(places)
        views = _tailing.tail(scope, places, start=start, last=last, follow=follow)
        async with aclosing(views):
            async for view in views:
                yield view

    # -- what is declared ---------------------------------------------------------------------------------------

    async def listeners(self) -> list[EventListeners]:
        """Every event name that the app knows, with its listeners. Raises `UsageError` without an app."""
        return event_listeners(self._needed_app())

    async def settings(self) -> list[Setting]:
        """Every setting in force with its origin, passwords masked. Raises `UsageError` without an app."""
        return describe(self._needed_app().settings)

    async def check_settings(self) -> None:
        """Find what is wrong with the settings, and with relays as settings and the app declare them.

        Raises:
            InvalidSettingsError: Something is; `problems` names all of it, in the words of whoever would run it.
            UsageError: There is no app.
        """
        app = self._needed_app()
        _ = app.settings
        if problems := app.relay_problems():
            raise InvalidSettingsError(problems)

    # -- failed messages ----------------------------------------------------------------------------------------

    async def failed(
        self, which: FailedWhich | None = None, *, after: str | None = None, limit: int = 100
    ) -> FailedPage:
        """One page of failure records, oldest last failure first; give a page's `next` as *after* to go on.

        Raises:
            UnknownStreamError: *which* names a stream that neither exists nor is registered.
            UsageError: *after* is nothing that a page gave.
        """
        scope = await self._scope()
        return await merged_page(
            scope, self._projection_failures, which or FailedWhich(), after=after, limit=limit
        )

    async def failed_show(self, which: FailedWhich, *, limit: int = 20) -> list[FailedDetail]:
        """Up to *limit* failure records with traceback and payload."""
        found: list[FailedDetail] = []
        if (others := self._projection_failures) is not None:
            found = await others.details(which, limit=limit)
        if which.projection is not None:
            return found
        return [*await _failures.details(await self._scope(), which, limit=limit), *found][:limit]

    async def failed_plan(self, which: FailedWhich, *, to_run: bool = True) -> RetryPlan:
        """What `failed_retry` would run (or, not *to_run*, `failed_flush` would forget), counted by listener."""
        others = self._projection_failures
        of_projections = await others.plan(which) if others is not None else RetryPlan(())
        if which.projection is not None:
            return of_projections
        planned = await _retrying.plan(await self._scope(), which, to_run=to_run)
        return RetryPlan((*planned.parts, *of_projections.parts), of_projections.problems)

    async def failed_retry(
        self,
        which: FailedWhich,
        *,
        everything: bool = False,
        concurrency: int = _RETRIES_AT_ONCE,
        after: AfterAcknowledged | None = None,
        stop_on_failure: bool = False,
        who: str | None = None,
        why: str | None = None,
    ) -> AsyncGenerator[RetryResult, None]:
        """Run failed messages again with the app's listeners, only the listener that failed; what became of each.

        Neither due time nor used-up attempts matter; a record that another process runs at this moment is left to it,
        one whose listener the app lacks is kept. All records are only meant when *everything* says so. *after* is
        called with each entry whose last failure this was, in any group (`purge_handled` removes it). With
        *stop_on_failure* they run one at a time, up to the first that fails again. Where *who* or *why* is said, it is
        noted beside the stream for `failed_log`.

        Raises:
            UsageError: Nothing narrows *which* down and *everything* is False; or there is no app.
        """
        _refuse_everything(which, everything, "run again")
        results = _retrying.retry_noted(
            await self._scope(),
            which,
            concurrency=concurrency,
            after=after,
            by=person(who, why),
            stop_on_failure=stop_on_failure,
        )
        both = both_retried(results, self._projection_failures, which, by=person(who, why))
        async with aclosing(both):
            async for result in both:
                yield result

    async def failed_flush(
        self,
        which: FailedWhich,
        *,
        everything: bool = False,
        who: str | None = None,
        why: str | None = None,
    ) -> int:
        """Forget failure records; how many. Streams are not touched. Raises `UsageError` as `failed_retry`."""
        _refuse_everything(which, everything, "forget")
        others = self._projection_failures
        by = person(who, why)
        count = await others.flush(which, by=by) if others is not None else 0
        if which.projection is not None:
            return count
        return count + await _retrying.flush(await self._scope(), which, by=by)

    @property
    def _projection_failures(self) -> ProjectionFailures | None:
        return None if self._app is None else ProjectionFailures(self._app)

    # -- archive ------------------------------------------------------------------------------------------------

    @property
    def archive(self) -> ArchiveOperations:
        """What can be done with the archive. Raises `UsageError` without an app."""
        return ArchiveOperations(self._needed_app(), self._scope)

    # -- event stores ---------------------------------------------------------------------------------------------

    @property
    def stores(self) -> StoreOperations:
        """What can be done with the event stores. Raises `UsageError` without an app."""
        return StoreOperations(self._needed_app())

    @property
    def databases(self) -> DatabaseOperations:
        """What can be done with their databases. Raises `UsageError` without an app."""
        return DatabaseOperations(self._needed_app())

    @property
    def projections(self) -> ProjectionOperations:
        """What can be done with projections and relays. Raises `UsageError` without an app."""
        return ProjectionOperations(self._needed_app(), connect=self._connect)

    @property
    def replays(self) -> ReplayOperations:
        """What can be done with replays of projections. Raises `UsageError` without an app."""
        return ReplayOperations(self._needed_app())

    # -- the whole ----------------------------------------------------------------------------------------------

    async def servers(self) -> list[ServerSummary]:
        """The server of every pool: what it is and what it promises."""
        scope = await self._scope()
        return [
            _inspecting.server_summary(scope, pool, broker) for pool, broker in sorted(scope.pools.items())
        ]

    async def status(self) -> Status:
        """Servers, streams, groups with their lag, workers and failures in one look."""
        scope = await self._scope()
        places = await scope.places()
        streams = await _inspecting.stream_summaries(scope, places)
        groups = await _inspecting.group_summaries(scope, places)
        told = ProjectionsFound(())
        if self._app is not None:
            told = await self.projections.overview()
        return Status(
            servers=tuple(await self.servers()),
            streams=tuple(streams),
            groups=tuple(groups),
            workers=tuple(await _inspecting.workers(scope, groups)),
            uncollected=tuple(await _inspecting.uncollected(scope)),
            retrying=sum(stream.retrying for stream in streams),
            failed=sum(stream.failed for stream in streams),
            projections=told.items,
            problems=(*told.problems, *filter(None, map(trouble_of, told.items))),
            away=told.problems,
        )

    async def eviction_problems(self, pools: Sequence[str] = ()) -> list[str]:
        """What speaks against working on these servers (all, if none is named): one that evicts loses messages."""
        return [
            f"the server of pool {server.pool!r} ({server.url}) has maxmemory-policy {server.maxmemory_policy}: "
            "at its memory limit it would delete streams; set it to noeviction"
            for server in await self.servers()
            if server.maxmemory_policy not in (None, "noeviction") and (not pools or server.pool in pools)
        ]

    # -- the embedded server ------------------------------------------------------------------------------------

    async def server_status(self) -> ServerStatus:
        """How the embedded server is; it is not started by asking. Raises `ConfigurationError` where none is used."""
        return await asyncio.to_thread(server_status, self._data_folder())

    async def server_start(self) -> ServerStatus:
        """Have the embedded server run, without users too, until it is stopped.

        Raises:
            ConfigurationError: The settings name a server that is not ours.
            NoServerBinaryError: There is none to start.
            EmbeddedServerError: It does not start; the message says why.
        """
        return await asyncio.to_thread(start_server, self._data_folder())

    async def server_stop(self) -> bool:
        """End the embedded server, its data complete on disk; whether it ran. Raises as `server_start`."""
        return await asyncio.to_thread(stop_server, self._data_folder())

    def _data_folder(self) -> Path:
        app = self._needed_app()
        if not app.is_embedded:
            where = mask(app.settings.streams) if app.settings.streams else "a connection that was handed in"
            raise ConfigurationError(
                f"streams are kept at {where}, so there is no server of our own; "
                "take the setting `streams` out to have one"
            )
        return app.settings.data_folder

    def _needed_app(self) -> App:
        if self._app is None:
            raise UsageError("servers alone do not tell what is declared; give Operations the app")
        return self._app


def _refuse_everything(which: FailedWhich, everything: bool, what: str) -> None:
    if which.is_everything and not everything:
        raise UsageError(f"this would {what} every failed message; narrow it down, or say everything=True")
