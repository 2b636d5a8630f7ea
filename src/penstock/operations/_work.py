"""Running an app, or a part of it, for a person who watches: what runs, how each listener fared, how to stop."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from penstock.app import App, Selection
from penstock.errors import TransientError, UsageError
from penstock.lifecycle import State
from penstock.listeners import AfterAcknowledged, Call, Runner, keep_alive
from penstock.listeners._backoff import Backoff
from penstock.message import Message
from penstock.operations._values import EntryView, HandlerRun
from penstock.operations._views import view_of_message
from penstock.position import NEW, Start
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.relays._worker import RelayWorker
from penstock.retry import Release

__all__ = ["Work", "WorkCounts"]

_SHOWING = "show"
_NO_GROUP = "(listen)"


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """What was done: messages taken in, settled as handled, settled as failed, run again, met without a listener."""

    delivered: int
    handled: int
    failed: int
    retried: int
    unhandled: int


class Work:
    """An app at work. `prepare` checks everything and starts nothing, `run` works until it ends or `stop` drains it.

    Args:
        only: Groups by name, ``projection:NAME``, ``relay:NAME``; empty for everything.
        events: Only listeners of these event names; empty for all.
        group: The one group whose listeners run.
        ungrouped: Run the listeners without their groups: every event from *start* on, nothing acknowledged.
        start: Where reading without a group begins, or where groups begin that do not exist yet.
        reclaim: Take over first what other consumers have left pending for so long.
        attempts: How often to start again after an error that is no handler's; ``None`` for ever.
        after: Called with what a group acknowledged as handled, in batches (`purge_handled` removes it).
        on_run: Told of every run of every listener. When it raises, the work drains, and `run` raises the same.
        on_reload: Called when somebody asks the runners of projections to begin again; the work drains if it
            answers `True`, else they begin again here.
    """

    def __init__(
        self,
        app: App,
        *,
        only: Sequence[str] = (),
        events: Sequence[str] = (),
        group: str | None = None,
        ungrouped: bool = False,
        consumer: str | None = None,
        start: Start | None = None,
        reclaim: timedelta | None = None,
        until_idle: bool = False,
        idle_exit: timedelta | None = None,
        attempts: int | None = 0,
        on_run: Callable[[HandlerRun], None] | None = None,
        after: AfterAcknowledged | None = None,
        on_reload: Callable[[], bool] | None = None,
    ) -> None:
        if ungrouped and (group is not None or consumer is not None or reclaim is not None):
            raise UsageError(
                "a consumer name and reclaiming belong to a group; without one they mean nothing"
            )
        self.app = app
        self._selection = Selection(
            only=(*only, *([group] if group is not None else [])),
            events=tuple(events),
            consumer=consumer,
            until_idle=until_idle,
            idle_exit=idle_exit,
            reclaim=reclaim,
            ungrouped=ungrouped,
            start=NEW if start is None else start,
            after=after,
        )
        self._group_start = start if not ungrouped else None
        self._attempts = attempts
        self._on_run = on_run
        self._on_reload = on_reload
        self._runner: Runner | None = None
        self.projections: tuple[str, ...] = ()
        """Those that run, by name; known once it is prepared."""
        self.relays: tuple[str, ...] = ()
        self._deaf: Exception | None = None

    @classmethod
    def showing(
        cls,
        app: App,
        streams: Sequence[str],
        show: Callable[[EntryView], None],
        *,
        group: str | None,
        **how: Any,
    ) -> Self:
        """The work of an app that declares nothing, and gets one listener here: it shows every message."""
        work = cls(app, group=group, ungrouped=group is None, **how)
        target = app.registry.group(group or _NO_GROUP, streams=tuple(streams), broadcast=group is None)
        target.on(Any, name=_SHOWING)(work._show_with(show))
        return work

    async def prepare(self) -> Mapping[str, tuple[str, ...]]:
        """Check declarations and settings; what will run: groups with their streams.

        Raises:
            ConfigurationError: Something cannot work.
            UsageError: *start* was given, and the group exists and has a place of its own.
        """
        _ = self.app.settings
        if self._group_start is not None:
            await self._begin_groups_at(self._group_start)
        if self._on_run is not None:
            self.app.registry.middleware.insert(0, self._timed(self._on_run))
        self._runner = await self.app.runner(self._selection)
        for part in self._runner.parts:
            if isinstance(part, ProjectionSupervisor | RelayWorker) and self._on_reload is not None:
                part.reloading = self._reload
        if not self._selection.events and not self._selection.ungrouped:
            self.projections = self._chosen("projection", self.app.projections)
            self.relays = self._chosen("relay", self.app.relay_names)
        found: dict[str, tuple[str, ...]] = {}
        for worker in self._runner.workers:
            found[worker.group.name] = (*found.get(worker.group.name, ()), *worker.streams)
        return found

    def _chosen(self, kind: str, known: Iterable[str]) -> tuple[str, ...]:
        """Those of a kind that will run, once it is prepared."""
        only = self._selection.only
        return tuple(
            name for name in sorted(known) if not only or {kind, name, f"{kind}:{name}"}.intersection(only)
        )

    @property
    def needs_servers(self) -> bool:
        """Whether what will run works with streams; projections and relays between stores do not."""
        if self._runner is None or self._runner.workers or not self._runner.parts:
            return True
        return any(self.app.relays[name].kind != "store to store" for name in self.relays)

    async def wait_for_servers(self) -> None:
        """Wait until every server answers: as long, and as patiently, as the workers would.

        Raises:
            BrokerUnavailableError: One was away for more tries than the settings allow.
            BrokerRefusedError: One does not let us.
        """
        attempts = self.app.settings.reconnect_attempts
        backoff = Backoff("connecting", self.app.clock, attempts=attempts, observer=self.app.observer)
        while True:
            try:
                await self.app.open()
            except TransientError as failure:
                await backoff.wait(failure)
            else:
                backoff.succeeded()
                return

    async def run(self) -> None:
        """Work until it ends by itself or `stop` was called. Raises as `App.run`."""
        if self._runner is None:
            await self.prepare()
        assert self._runner is not None
        if self._attempts == 0:
            await self._runner.run()
        else:
            await keep_alive(self._runner, attempts=self._attempts, clock=self.app.clock)
        if self._deaf is not None:
            raise self._deaf

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended."""
        if self._runner is not None:
            self._runner.stop()

    def _reload(self) -> None:
        if self._on_reload is not None and self._on_reload():
            self.stop()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs at this moment: before the start, at the end, and between two attempts."""
        moving = {State.STARTING, State.READY, State.QUIET}
        return self._runner is None or not any(part.life.state in moving for part in self._runner.parts)

    @property
    def counts(self) -> WorkCounts:
        """What was done so far."""
        counts = [worker.counts for worker in self._runner.workers] if self._runner is not None else []
        return WorkCounts(
            delivered=sum(each.delivered for each in counts),
            handled=sum(each.handled for each in counts),
            failed=sum(each.failed for each in counts),
            retried=sum(each.retried for each in counts),
            unhandled=sum(each.unhandled for each in counts),
        )

    async def _begin_groups_at(self, start: Start) -> None:
        for group in self.app.registry:
            if group.broadcast or not group.listeners or group.name not in self._selection.only:
                continue
            for stream in group.streams:
                broker = await self.app.broker_for(stream)
                known = await broker.groups(stream) if stream in await broker.streams() else []
                if any(each.name == group.name for each in known):
                    raise UsageError(
                        f"group {group.name!r} of stream {stream!r} exists and has a place of its own; "
                        "leave --from out to go on there"
                    )
            group.configure(start=start)

    def _timed(self, tell: Callable[[HandlerRun], None]) -> Callable[..., Awaitable[None]]:
        async def timed(call: Call, proceed: Callable[[], Awaitable[None]]) -> None:
            began = time.perf_counter()
            failure: BaseException | None = None
            try:
                await proceed()
            except BaseException as error:
                failure = error
                raise
            finally:
                seconds = time.perf_counter() - began
                for message in call.messages:
                    self._say(lambda: tell(_run_of(call, message, seconds, failure)))  # noqa: B023  said at once

        return timed

    def _show_with(self, show: Callable[[EntryView], None]) -> Callable[[Message], Awaitable[None]]:
        pools = self.app.settings.stream_settings

        async def showing(message: Message) -> None:
            declared = pools.get(message.stream)
            view = view_of_message(declared.pool if declared is not None else "default", message)
            if not self._say(lambda: show(view)):
                raise Release

        return showing

    def _say(self, say: Callable[[], None]) -> bool:
        """Tell whoever watches. One that is gone ends the work, and changes nothing for the message in hand."""
        if self._deaf is None:
            try:
                say()
            except Exception as failure:  # noqa: BLE001  a terminal that went away must not fail a listener
                self._deaf = failure
                self.stop()
        return self._deaf is None


def _run_of(call: Call, message: Message, seconds: float, failure: BaseException | None) -> HandlerRun:
    return HandlerRun(
        group=None if call.group is None or call.group.startswith("(") else call.group,
        listener=call.listener.name,
        stream=message.stream,
        entry_id=message.entry_id,
        event_id=message.id,
        name=message.name,
        attempt=message.attempt,
        seconds=seconds,
        error=failure,
    )
