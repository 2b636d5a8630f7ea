"""What keeping costs: adding while a collector removes, archiving and restoring, the history of one entity."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final

from benchmarks.contenders import OURS
from benchmarks.harness import Bench, MeasurementError
from benchmarks.orders import attributes
from benchmarks.results import Table, table_of
from penstock import App, Event
from penstock.operations import Operations

__all__ = ["measure_archive", "measure_collection", "measure_history"]

_STREAM: Final = "orders"
_QUIET_SECONDS: Final = 2.0
_ENTITY_EVENTS: Final = 100


class Noted(Event, name="noted", key="entity", stream=_STREAM, history=True):
    """An event of one entity among a great many of others."""

    entity: str
    number: int


def measure_collection(bench: Bench) -> list[Table]:
    """How long XADD takes while a million handled entries are removed, beside a server that does nothing else."""
    entries = 100_000 if bench.options.quick else 1_000_000
    quiet: list[float] = []
    under: list[float] = []
    with bench.stage(keep_awake=True):
        for turn in range(bench.options.rounds):
            bench.server.fill(_STREAM, entries)
            end = bench.server.last_entry_id(_STREAM)
            if turn == 0:
                bench.server.client.sadd("penstock:streams", _STREAM)
                bench.server.client.xgroup_create(_STREAM, "billing", end)
            bench.server.client.xgroup_setid(_STREAM, "billing", end)
            quiet.append(_p99(_adding_for(bench, _QUIET_SECONDS)))
            purge = _start_purge(bench)
            under.append(_p99(_adding(bench, partial(_runs, purge))))
            if purge.returncode != 0:
                raise MeasurementError(f"the purge ended with status {purge.returncode}")
            bench.say(
                f"collect  {turn + 1}/{bench.options.rounds}  quiet {quiet[-1]:.0f} us, under {under[-1]:.0f} us"
            )
            bench.server.client.delete("beside")
    title = f"XADD, 99 of 100, beside the removal of {entries:,} entries"
    return [table_of("collect", title, {"nothing else": quiet, OURS: under}, "us")]


def measure_archive(bench: Bench) -> list[Table]:
    """How many events a second go into each kind of archive, and come back."""
    events = 5_000 if bench.options.quick else 50_000
    tables: dict[str, dict[str, list[float]]] = {"archive": {}, "restore": {}}
    with bench.stage(keep_awake=False):
        for turn in range(bench.options.rounds):
            for driver in ("sql", "files"):
                bench.server.client.flushall()
                with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
                    there, back = asyncio.run(_there_and_back(bench, driver, Path(folder), events))
                tables["archive"].setdefault(driver, []).append(events / there)
                tables["restore"].setdefault(driver, []).append(events / back)
                bench.say(
                    f"archive  {turn + 1}/{bench.options.rounds}  {driver}: {events / there:,.0f}/s there, "
                    f"{events / back:,.0f}/s back"
                )
    return [table_of(name, f"{name} {events:,} orders", drivers) for name, drivers in tables.items()]


def measure_history(bench: Bench) -> list[Table]:
    """The folded state of an entity with a hundred events, in a small and in a large stream."""
    sizes = {"small": 1_000, "large": 100_000 if bench.options.quick else 1_000_000}
    found: dict[str, list[float]] = {size: [] for size in sizes}
    with bench.stage(keep_awake=True):
        for size, entries in sizes.items():
            bench.server.client.flushall()
            asyncio.run(_note(bench, entries))
            for turn in range(bench.options.rounds):
                found[size].append(asyncio.run(_fold(bench)))
                bench.say(f"history  {turn + 1}/{bench.options.rounds}  {size}: {found[size][-1]:.0f} us")
    title = (
        f"state of an entity of {_ENTITY_EVENTS} events; small: {sizes['small']:,}, large: {sizes['large']:,}"
    )
    return [table_of("history", title, {f"{OURS}, {size}": rounds for size, rounds in found.items()}, "us")]


# -- helpers --------------------------------------------------------------------------------------------------------


def _adding(bench: Bench, go_on: Callable[[], bool]) -> list[float]:
    """Add small entries one after the other; how many microseconds each took."""
    client, took = bench.server.client, list[float]()
    while go_on() or len(took) < 100:
        began = perf_counter()
        client.xadd("beside", {"n": "1"})
        took.append((perf_counter() - began) * 1e6)
    return took


def _adding_for(bench: Bench, seconds: float) -> list[float]:
    until = monotonic() + seconds
    return _adding(bench, lambda: monotonic() < until)


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is None


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


def _start_purge(bench: Bench) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "streams", "purge", _STREAM, "--yes"],
        env={**os.environ, "PENSTOCK_STREAMS": f"unix://{bench.server.socket}"},
        stdout=subprocess.DEVNULL,
    )


async def _there_and_back(bench: Bench, driver: str, folder: Path, events: int) -> tuple[float, float]:
    """Seconds for archiving *events*, and for restoring them."""
    app = App(
        "bench",
        streams=f"unix://{bench.server.socket}",
        data_folder=str(folder),
        archive={"driver": driver},
    )
    async with app:
        for start in range(0, events, 1000):
            orders = [attributes(number) for number in range(start, start + 1000)]
            await app.emit_many(orders, name="order.placed", stream=_STREAM)
        archive = Operations(app).archive
        began = perf_counter()
        archived = sum([page.archived async for page in archive.run(await archive.places([_STREAM]))])
        between = perf_counter()
        restored = sum([each.error is None async for each in archive.restore(stream=_STREAM)])
        ended = perf_counter()
    if archived != events or restored != events:
        raise MeasurementError(f"{archived} archived and {restored} restored of {events}")
    return between - began, ended - between


async def _note(bench: Bench, entries: int) -> None:
    """A hundred events of one entity, spread over a stream of so many others."""
    async with App("bench", streams=f"unix://{bench.server.socket}") as app:
        for number in range(_ENTITY_EVENTS):
            if number % 10 == 0:
                await asyncio.to_thread(bench.server.fill, _STREAM, entries // 10)
            await app.emit(Noted(entity="one", number=number))


async def _fold(bench: Bench) -> float:
    """Microseconds for the state, the best of some."""
    took: list[float] = []
    async with App("bench", streams=f"unix://{bench.server.socket}") as app:
        for _ in range(20):
            began = perf_counter()
            state = await app.history(Noted, "one").state()
            took.append((perf_counter() - began) * 1e6)
            if state != {"entity": "one", "number": _ENTITY_EVENTS - 1}:
                raise MeasurementError(f"the folded state is {state}")
    return min(took)
