"""The last chapter: what is kept for good, while that which projects and relays it is killed in the middle."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from penstock.demo.data import Flight
from penstock.demo.events import FlightEvent
from penstock.demo.figures import compute
from penstock.demo.ledger import ANNOUNCED, Counted, Ledger, app
from penstock.demo.processes import WorkerProcess, Workers
from penstock.demo.screen import Screen
from penstock.demo.worker import LEDGER
from penstock.errors import PenstockError
from penstock.operations import Operations, ProjectionStatus

__all__ = ["Keeping"]

_MOST = 20_000
_FLIGHTS_A_TRANSACTION = 200
_LOOK_EVERY_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0


@dataclass
class Keeping:
    """How flights are booked, projected and relayed. `tell` says whether all came out as it should."""

    screen: Screen
    workers: Workers
    operations: Operations = field(default_factory=lambda: Operations(app))
    events: list[FlightEvent] = field(default_factory=list[FlightEvent])

    async def tell(self, table: Sequence[Flight]) -> bool:
        """Tell it from beginning to end. Raises `PenstockError` when it cannot go on."""
        self.screen.step(
            "A ledger keeps flights for good; what projects and relays them is killed in the middle"
        )
        flights = table[:_MOST]
        await self.operations.databases.migrate()
        ledger = Ledger()
        await asyncio.to_thread(ledger.prepare)
        worker = self.workers.start(LEDGER, 1, release=2)
        began = time.monotonic()
        await asyncio.to_thread(self._book, ledger, flights[: len(flights) // 2])
        await self._until_it_works(worker)
        self.workers.kill(worker)
        self.screen.say(
            f"kill -9 {worker.pid}: nobody projects or relays; flights are booked all the same", style="red"
        )
        await asyncio.to_thread(self._book, ledger, flights[len(flights) // 2 :])
        booked = time.monotonic() - began
        self.screen.say(
            f"booked {len(flights):,} flights with {len(self.events):,} events, {_FLIGHTS_A_TRANSACTION} flights a "
            f"transaction, in {booked:.1f} s; one transaction was given up, and left nothing"
        )
        again = self.workers.start(LEDGER, 2, release=2)
        waited = await self._until_all_is_done()
        self.workers.stop(again)
        self.screen.say(f"{waited:.1f} s after its start process {again.pid} had made up for it")
        return await self._compare(ledger, flights)

    def _book(self, ledger: Ledger, flights: Sequence[Flight]) -> None:
        rest = iter(flights)
        while chunk := list(islice(rest, _FLIGHTS_A_TRANSACTION)):
            if not self.events:
                ledger.book(chunk, give_up=True)
            self.events += ledger.book(chunk)

    async def _statuses(self) -> list[ProjectionStatus]:
        return list((await self.operations.projections.overview()).items)

    async def _until_it_works(self, worker: WorkerProcess) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not any(status.position for status in await self._statuses()):
            self.workers.check()
            if time.monotonic() > deadline:
                raise PenstockError(f"the process {worker.pid} projects nothing; see {worker.log}")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _until_all_is_done(self) -> float:
        began = time.monotonic()
        while any(status.lag_events for status in await self._statuses()):
            self.workers.check()
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise PenstockError("projections and relays do not catch up")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return time.monotonic() - began

    async def _compare(self, ledger: Ledger, flights: Sequence[Flight]) -> bool:
        computed = compute(flights)
        expected = Counted(
            computed.carriers,
            {code: (each.departed, each.arrived, each.cancelled) for code, each in computed.airports.items()},
        )
        wrong: list[str] = []
        if await asyncio.to_thread(ledger.counted) != expected:
            wrong.append("the read models are not what the table says")
        kept = [event.id async for event in app.store().read()]
        if len(kept) != len(self.events):
            wrong.append(f"the store has {len(kept):,} events")
        if [event.id async for event in app.store("shared").read()] != kept:
            wrong.append("the shared store has other events, or in another order")
        announced = await self._announced()
        if announced != kept:
            wrong.append(
                f"the stream {ANNOUNCED!r} has other events ({len(announced):,}), or in another order"
            )
        if wrong:
            self.screen.say("\n".join(["NOT RIGHT:", *wrong]), style="bold red")
            return False
        self.screen.say(
            f"equal: {len(kept):,} events, each once and in order, in the ledger, on the stream {ANNOUNCED!r} and in "
            f"the shared store; {len(expected.carriers)} carriers, {len(expected.airports)} airports counted right",
            style="bold green",
        )
        return True

    async def _announced(self) -> list[str]:
        reader = await app.reader(ANNOUNCED, start="beginning", count=1000)
        found: list[str] = []
        while messages := await reader.read():
            found += [message.id for message in messages]
        return found
