"""The measured process of replays, ``python -m benchmarks.storing.replay_worker``: a read model is built anew."""

import os
from datetime import timedelta
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.event import OrderPlaced
from benchmarks.orders import attributes
from benchmarks.storing.replay_app import ORDERS, STORE
from benchmarks.worker import answer, peak_rss_mib

__all__ = ["ReplayJob", "ReplayOutcome", "main"]

_BATCH = 1000
_KEY = "measured"


class ReplayJob(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement."""

    url: str
    projection: str
    events: int
    uvloop: bool
    processes: int = 1
    switches: bool = False
    """Whether it is compared and promoted as well; then there is a live read model."""


class ReplayOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What it took."""

    events: int
    build_s: float
    peak_rss_mib: float
    verify_s: float = 0.0
    held_ms: float = 0.0
    """How long both stood still for the comparison."""
    locked_ms: float = 0.0
    """How long the promotion kept others out."""

    @property
    def rate(self) -> float:
        """Events built a second."""
        return self.events / self.build_s


def main() -> None:
    """Do what is asked for and say how long it took."""
    answer(ReplayJob, _measured)


async def _measured(job: ReplayJob) -> ReplayOutcome:
    os.environ[STORE] = job.url
    from benchmarks.storing import replay_app
    from penstock.operations import Operations

    app: Any = replay_app.app
    app.configure(store=job.url)
    async with app:
        await Operations(app).databases.migrate()
        for start in range(0, job.events, _BATCH):
            numbers = range(start, min(start + _BATCH, job.events))
            await app.store().append([OrderPlaced(**attributes(number)) for number in numbers])
        if job.switches:
            await app.catch_up(job.projection)
        await app.replays.create(_KEY, [job.projection], processes=job.processes)
        began = perf_counter()
        progress = await app.replays.start(_KEY)
        built = perf_counter() - began
        if progress.lag_events or progress.position < job.events:
            raise RuntimeError(f"the copy is at {progress.position} of {job.events}")
        if not job.switches:
            return ReplayOutcome(events=job.events, build_s=built, peak_rss_mib=peak_rss_mib())
        began = perf_counter()
        report = await app.replays.verify(_KEY)
        verified = perf_counter() - began
        [table] = report.tables
        if not report.is_green or (job.projection == ORDERS and table.live_rows != job.events):
            raise RuntimeError(f"the comparison found {report}")
        switched = await app.replays.promote(_KEY)
        return ReplayOutcome(
            events=job.events,
            build_s=built,
            verify_s=verified,
            held_ms=_ms(report.held),
            locked_ms=_ms(switched.locked),
            peak_rss_mib=peak_rss_mib(),
        )


def _ms(time: timedelta) -> float:
    return time / timedelta(milliseconds=1)


if __name__ == "__main__":
    main()
