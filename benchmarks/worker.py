"""The process in which one contender does one job, so that memory and interpreter state are its own.

``python -m benchmarks.worker`` reads a `Job` from standard input and prints its `Outcome` as the last line. It imports
nothing that the job does not need: its peak memory is one of the figures.
"""

import asyncio
import importlib
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from benchmarks.contender import Acknowledge, Contender, Publisher
from benchmarks.job import Job, Outcome, Role
from benchmarks.orders import attributes
from benchmarks.tally import Latencies, Tally

__all__ = ["answer", "main", "peak_rss_mib"]


class Asked(Protocol):
    """What every job says."""

    @property
    def uvloop(self) -> bool: ...


J = TypeVar("J", bound=Asked)
Publish = Callable[[Publisher[Any], Sequence[Any], Job], Awaitable[None]]


async def _one_by_one(publisher: Publisher[Any], orders: Sequence[Any], _job: Job) -> None:
    for order in orders:
        await publisher.publish(order)


async def _from_many_tasks(publisher: Publisher[Any], orders: Sequence[Any], job: Job) -> None:
    async def publish(share: Sequence[Any]) -> None:
        for order in share:
            await publisher.publish_shared(order)

    async with asyncio.TaskGroup() as tasks:
        for number in range(job.tasks):
            tasks.create_task(publish(orders[number :: job.tasks]))


async def _in_batches(publisher: Publisher[Any], orders: Sequence[Any], job: Job) -> None:
    for start in range(0, len(orders), job.batch):
        await publisher.publish_batch(orders[start : start + job.batch])


_PUBLISH: Final[dict[Role, Publish]] = {
    Role.PUBLISH: _one_by_one,
    Role.PUBLISH_SHARED: _from_many_tasks,
    Role.PUBLISH_BATCH: _in_batches,
}


async def _publish(contender: Contender[Any], job: Job, publish: Publish) -> Outcome:
    orders = [contender.order(**attributes(index)) for index in range(job.warm_up + job.events)]
    async with contender.publisher(job.place) as publisher:
        await publish(publisher, orders[: job.warm_up], job)
        measured = orders[job.warm_up :]
        started = time.perf_counter()
        await publish(publisher, measured, job)
        seconds = time.perf_counter() - started
    return Outcome(events=job.events, seconds=seconds, peak_rss_mib=peak_rss_mib())


async def _publish_paced(contender: Contender[Any], job: Job) -> Outcome:
    loop = asyncio.get_running_loop()
    async with contender.publisher(job.place) as publisher:
        started = loop.time()
        for index in range(job.warm_up + job.events):
            await asyncio.sleep(started + index / job.per_second - loop.time())
            await publisher.publish(contender.order(**attributes(index, time.monotonic_ns())))
        seconds = loop.time() - started
    return Outcome(events=job.events, seconds=seconds, peak_rss_mib=peak_rss_mib())


async def _consume(contender: Contender[Any], job: Job, acknowledge: Acknowledge) -> Outcome:
    tally = Tally(job.events, warm_up=job.warm_up)
    await contender.consume(job.place, tally, acknowledge)
    return Outcome(events=job.events, seconds=tally.seconds(), peak_rss_mib=peak_rss_mib())


async def _consume_paced(contender: Contender[Any], job: Job) -> Outcome:
    tally = Latencies(job.events, warm_up=job.warm_up)
    await contender.consume(job.place, tally, Acknowledge.BATCH)
    seconds, latencies = tally.seconds(), tally.microseconds()
    return Outcome(
        events=job.events,
        seconds=seconds,
        peak_rss_mib=peak_rss_mib(),
        p50_us=latencies[len(latencies) // 2],
        p99_us=latencies[len(latencies) * 99 // 100],
    )


async def _work(job: Job) -> Outcome:
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    contender = _contender(job.contender)
    match job.role:
        case Role.PUBLISH_PACED:
            return await _publish_paced(contender, job)
        case Role.CONSUME | Role.CONSUME_ORDERED:
            return await _consume(contender, job, Acknowledge.BATCH)
        case Role.CONSUME_EACH:
            return await _consume(contender, job, Acknowledge.EACH)
        case Role.CONSUME_PACED:
            return await _consume_paced(contender, job)
        case _:
            return await _publish(contender, job, _PUBLISH[job.role])


def peak_rss_mib() -> float:
    """The most memory that this process has had."""
    # ru_maxrss survives exec, so a worker would report its parent's peak; the kernel's high-water mark does not.
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _contender(name: str) -> Contender[Any]:
    module, _, attribute = name.partition(":")
    make = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), attribute)
    return cast("Contender[Any]", make())


def answer(kind: type[J], work: Callable[[J], Coroutine[Any, Any, object]]) -> None:
    """Do the job of this kind that is given on standard input, in its event loop, and print the outcome."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=kind)
    loop_factory = None
    if job.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        outcome = runner.run(work(job))
    print(msgspec.json.encode(outcome).decode(), flush=True)


def main() -> None:
    """Do what one contender is asked for."""
    answer(Job, _work)


if __name__ == "__main__":
    main()
