"""The measured process of the relays, ``python -m benchmarks.storing.relay_worker``: one relay moves all there is."""

from collections.abc import Mapping
from enum import StrEnum
from time import perf_counter
from typing import Any, Final

import msgspec

from benchmarks.job import Outcome
from benchmarks.worker import answer, peak_rss_mib
from penstock import App
from penstock.operations import Operations

__all__ = ["STREAM", "RelayJob", "Relaying", "main"]

STREAM: Final = "orders"


class Relaying(StrEnum):
    """From what to what."""

    TO_STREAM = "store to stream"
    TO_STORE = "store to store"
    FROM_STREAM = "stream to store"


class RelayJob(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement."""

    relaying: Relaying
    stores: Mapping[str, str]
    """URLs by name: ``local``, and the targets ``shared`` and ``kept``."""
    streams: str
    events: int
    uvloop: bool


_OPTIONS: Final[dict[Relaying, dict[str, Any]]] = {
    Relaying.TO_STREAM: {"to": STREAM},
    Relaying.TO_STORE: {"target": "shared"},
    Relaying.FROM_STREAM: {"source": f"stream:{STREAM}", "target": "kept"},
}


def main() -> None:
    """Do what is asked for and say how long it took."""
    answer(RelayJob, _measured)


async def _measured(job: RelayJob) -> Outcome:
    others = {name: {"url": url} for name, url in job.stores.items() if name != "local"}
    async with App("bench", streams=job.streams, store=job.stores["local"], stores=others) as app:
        if job.stores["local"].startswith("postgresql"):
            await Operations(app).databases.migrate()
        app.relay("orders", **_OPTIONS[job.relaying])
        began = perf_counter()
        await app.catch_up("orders")
        seconds = perf_counter() - began
        moved = await _moved(app, job.relaying)
    if moved != job.events:
        raise RuntimeError(f"{moved} events were moved of {job.events}")
    return Outcome(events=job.events, seconds=seconds, peak_rss_mib=peak_rss_mib())


async def _moved(app: App, relaying: Relaying) -> int:
    if relaying is Relaying.TO_STREAM:
        return await (await app.broker_for(STREAM)).length(STREAM)
    target = "shared" if relaying is Relaying.TO_STORE else "kept"
    moved = 0
    async for _ in app.store(target).read():
        moved += 1
    return moved


if __name__ == "__main__":
    main()
