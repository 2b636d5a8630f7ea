"""The measured process, ``python -m benchmarks.storing.worker``: a `StoreJob` comes in, an outcome goes out."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from itertools import islice
from time import perf_counter

from benchmarks.job import Outcome
from benchmarks.orders import attributes
from benchmarks.storing.job import GrownOutcome, StoreJob, Work
from benchmarks.storing.keeper import Keeper
from benchmarks.worker import answer, peak_rss_mib

__all__ = ["main"]


def main() -> None:
    """Do what is asked for and say how long it took."""
    answer(StoreJob, _measured)


async def _measured(job: StoreJob) -> Outcome | GrownOutcome:
    module, _, name = job.keeper.partition(":")
    side: Keeper = getattr(importlib.import_module(f"benchmarks.storing.keepers.{module}"), name)(job.url)
    await side.open()
    try:
        if job.work is Work.GROWN:
            return await _grown(side, job)
        if job.work is Work.WAKE:
            took = sorted(await side.wake(job.events))
            return Outcome(
                events=job.events,
                seconds=sum(took) / 1e6,
                peak_rss_mib=peak_rss_mib(),
                p50_us=took[len(took) // 2],
                p99_us=took[len(took) * 99 // 100],
            )
        seconds = await _WORKS[job.work](side, job)
        return Outcome(events=job.events, seconds=seconds, peak_rss_mib=peak_rss_mib())
    finally:
        await side.close()


async def _grown(side: Keeper, job: StoreJob) -> GrownOutcome:
    appended, projected, loaded = await side.grown(job.held, job.events)
    return GrownOutcome(
        append_us=appended / job.events * 1e6,
        project_us=projected / job.events * 1e6,
        load_us=loaded * 1e6,
        peak_rss_mib=peak_rss_mib(),
    )


async def _append(side: Keeper, job: StoreJob) -> float:
    await side.append(attributes(0))
    began = perf_counter()
    for number in range(1, job.events):
        await side.append(attributes(number))
    return perf_counter() - began


async def _append_shared(side: Keeper, job: StoreJob) -> float:
    await side.append(attributes(0))
    numbers = iter(range(1, job.events))

    async def write() -> None:
        for number in numbers:
            await side.append_shared(attributes(number))

    began = perf_counter()
    await asyncio.gather(*(write() for _ in range(job.writers)))
    return perf_counter() - began


async def _append_batch(side: Keeper, job: StoreJob) -> float:
    orders = iter([attributes(number) for number in range(job.events)])
    began = perf_counter()
    while batch := list(islice(orders, job.batch)):
        await side.append_batch(batch)
    return perf_counter() - began


async def _read(side: Keeper, job: StoreJob) -> float:
    began = perf_counter()
    found = await side.read()
    if found != job.events:
        raise RuntimeError(f"{found} events read of {job.events}")
    return perf_counter() - began


async def _project(side: Keeper, job: StoreJob) -> float:
    page = 1 if job.work is Work.PROJECT_EACH else job.batch
    began = perf_counter()
    total = await side.project(job.events, page=page)
    seconds = perf_counter() - began
    expected = sum(attributes(number)["total_cents"] for number in range(job.events))
    if total != expected:
        raise RuntimeError(f"the read model says {total}, the events {expected}")
    return seconds


_WORKS: dict[Work, Callable[[Keeper, StoreJob], Awaitable[float]]] = {
    Work.APPEND: _append,
    Work.APPEND_SHARED: _append_shared,
    Work.APPEND_BATCH: _append_batch,
    Work.READ: _read,
    Work.PROJECT: _project,
    Work.PROJECT_EACH: _project,
}


if __name__ == "__main__":
    main()
