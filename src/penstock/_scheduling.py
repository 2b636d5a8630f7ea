"""The part of an app that declares what recurs, and the mover that every process runs beside its work."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from penstock._building import Selection
from penstock._declaring import Router
from penstock._wiring import Brokers
from penstock.clock import Clock
from penstock.errors import ConfigurationError
from penstock.listeners._recurring import RecurringRun, RecurringRuns
from penstock.listeners.runner import Part, Runner, Worker
from penstock.streams.abc import StreamBroker
from penstock.streams.publisher import Publisher
from penstock.streams.scheduling import Later, Mover

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["Beside", "DeclaresRecurring", "mover_of", "runner_of", "together"]

Beside = Callable[[], Coroutine[Any, Any, None]]
"""What runs beside workers until it is cancelled."""


class DeclaresRecurring(Router, ABC):
    """The part of an app that knows what recurs."""

    clock: Clock

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    @abstractmethod
    async def _publishing(self) -> Publisher: ...

    async def recurring(self) -> list[RecurringRun]:
        """Everything that recurs, as the servers know it, with its last and its next run, by stream and name."""
        found: list[RecurringRun] = []
        for broker in dict.fromkeys((await self._opened()).pools.values()):
            for stream in await broker.schedule.streams():
                for name, tick in (await broker.schedule.ticks(stream)).items():
                    found.append(RecurringRun(stream, name, tick.rule, tick.at, tick.following))
        return sorted(found, key=lambda run: (run.stream, run.name))


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
    app: "App",
    brokers: Brokers,
    selection: Selection,
    workers: Sequence[Worker],
    beside: Beside | None,
    *,
    parts: Sequence[Part] = (),
    again: Callable[[], Awaitable[bool]] | None = None,
) -> Runner:
    """A runner of workers that moves what is due beside them; one that runs until idle moves it before and after."""
    if selection.ungrouped:
        return Runner(workers, parts=parts, beside=beside)
    mover = mover_of(app, brokers)
    if selection.until_idle:
        return Runner(workers, parts=parts, beside=beside, due=mover.catch_up, again=again)
    return Runner(
        workers, parts=parts, beside=together(mover.run, *((beside,) if beside is not None else ()))
    )


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
