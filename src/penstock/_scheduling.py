"""The part of an app that declares what recurs, and the mover that every process runs beside its work."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from penstock._building import Selection
from penstock._wiring import Brokers
from penstock.clock import Clock
from penstock.errors import ConfigurationError
from penstock.listeners._recurring import Make, Recurring, RecurringRun, RecurringRuns, declare_recurring
from penstock.listeners._rules import Cron, Every, Missed, Rule
from penstock.listeners.runner import Runner, Worker
from penstock.streams.abc import StreamBroker
from penstock.streams.publisher import Publisher
from penstock.streams.scheduling import Later, Mover

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["Beside", "DeclaresRecurring", "mover_of", "runner_of", "together"]

M = TypeVar("M", bound=Make)

Beside = Callable[[], Coroutine[Any, Any, None]]
"""What runs beside workers until it is cancelled."""


class DeclaresRecurring(ABC):
    """The part of an app that declares what recurs."""

    clock: Clock
    _recurring: dict[str, Recurring]

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    @abstractmethod
    async def _publishing(self) -> Publisher: ...

    @overload
    def every(
        self,
        interval: timedelta | str,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M]: ...
    @overload
    def every(
        self,
        interval: timedelta | str,
        what: object,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> None: ...
    def every(
        self,
        interval: timedelta | str,
        what: object = None,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M] | None:
        """Emit an event every so often: ``app.every("5 min", Tidied())``, or as a decorator of a function.

        The times are counted from 1970-01-01 00:00 UTC, so that every process has the same: every 5 minutes is at :00,
        :05, :10. Of all processes that declare it one emits at each time. The function returns the event, a list of
        events, or ``None``; it may take the time of the run, and several processes may call it for the same one, of
        which one's answer counts, so it should do nothing but make events. Their own time is that of the run.

        *name* (the function's, or the event's, unless given) is what its runs are kept under; keep it stable. *missed*
        says what becomes of runs for which nobody was there: ``"once"`` runs for the last of them, ``"skip"`` for none,
        ``"all"`` for each, up to a hundred. A run is not missed while it is less than a minute late and the next is not
        due. Nothing is missed before a process has first known of it. The events go to one stream, without partitions:
        that of the event, of the class that the function is annotated to return, or *stream*.

        Raises:
            ConfigurationError: The name is taken, or the stream cannot be told.
            MalformedDurationError: *interval* is no duration.
        """
        return self._recur(Every.parse(interval), what, name=name, stream=stream, missed=missed)

    @overload
    def cron(
        self,
        expression: str,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M]: ...
    @overload
    def cron(
        self,
        expression: str,
        what: object,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> None: ...
    def cron(
        self,
        expression: str,
        what: object = None,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M] | None:
        """Emit an event when a cron expression says: ``app.cron("0 6 * * *", Opened(), timezone="Europe/Berlin")``.

        Five fields: minute, hour, day of month, month, day of week; or six, with seconds first. Needs the extra
        ``cron``. A time that a day does not have (clocks go forward) is the first minute that it has; one that it has
        twice (they go back) is the first of the two. Expressions whose minute or hour begins with a star go by real
        time instead. Everything else is as for `every`.

        Raises:
            ConfigurationError: The expression or the time zone is none; or as `every`.
            MissingExtraError: The extra is not installed.
        """
        return self._recur(Cron.parse(expression, timezone), what, name=name, stream=stream, missed=missed)

    async def recurring(self) -> list[RecurringRun]:
        """Everything that recurs, as the servers know it, with its last and its next run, by stream and name."""
        found: list[RecurringRun] = []
        for broker in dict.fromkeys((await self._opened()).pools.values()):
            for stream in await broker.schedule.streams():
                for name, tick in (await broker.schedule.ticks(stream)).items():
                    found.append(RecurringRun(stream, name, tick.rule, tick.at, tick.following))
        return sorted(found, key=lambda run: (run.stream, run.name))

    def _recur(
        self, rule: Rule, what: object, *, name: str | None, stream: str | None, missed: Missed
    ) -> Callable[[M], M] | None:
        def declare(what: object) -> None:
            declared = declare_recurring(self._recurring, rule, what, name=name, stream=stream, missed=missed)
            self._recurring[declared.name] = declared

        def decorate(function: M) -> M:
            declare(function)
            return function

        if what is None:
            return decorate
        declare(what)
        return None


def mover_of(app: "App", brokers: Brokers) -> Mover:
    """What moves the scheduled events of an app, and runs what recurs in it.

    Raises:
        ConfigurationError: Something recurs into a stream that is not registered, or that has partitions.
    """
    for each in app._recurring.values():  # pyright: ignore[reportPrivateUsage]
        brokers.broker_for(each.stream)
        if brokers.partitioned is not None and brokers.partitioned.count_of(each.stream) is not None:
            raise ConfigurationError(
                f"recurring {each.name!r} goes to stream {each.stream!r}, which has partitions, and its runs are kept "
                "beside one stream; send it to another stream, and emit from a listener there"
            )
    runs = RecurringRuns(
        app._recurring.values(),  # pyright: ignore[reportPrivateUsage]
        brokers.broker_for,
        app._publishing,  # pyright: ignore[reportPrivateUsage]
        app.clock,
    )

    async def reroute(broker: StreamBroker, lane: str) -> None:
        if brokers.partitioned is not None:
            later = Later(brokers.pools, brokers.broker_for, app.layouts)
            await later.reroute(broker, lane, brokers.partitioned)

    return Mover(brokers.pools, runs, clock=app.clock, reroute=reroute)


def runner_of(
    app: "App", brokers: Brokers, selection: Selection, workers: Sequence[Worker], beside: Beside | None
) -> Runner:
    """A runner of workers that moves what is due beside them; one that runs until idle moves it before and after."""
    if selection.ungrouped:
        return Runner(workers, beside=beside)
    mover = mover_of(app, brokers)
    if selection.until_idle:
        return Runner(workers, beside=beside, due=mover.catch_up)
    return Runner(workers, beside=together(mover.run, *((beside,) if beside is not None else ())))


def together(*several: Beside) -> Beside:
    """Several things that run beside workers, as one. When one ends with an error the others go on."""

    async def run() -> None:
        tasks = [asyncio.create_task(each()) for each in several]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failures:
            raise failures[0]

    return run
