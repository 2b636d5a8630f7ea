"""What the demo tells, in order: emit, kill a worker, see a listener fail, mend it, retry, compare."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.demo.aircraft import GROUP, STREAM, Whereabouts, follow, legs_of, work
from penstock.demo.book import Book
from penstock.demo.data import Flight, flights
from penstock.demo.events import FlightEvent, events_of
from penstock.demo.figures import compute, differences
from penstock.demo.keeping import Keeping
from penstock.demo.listeners import app
from penstock.demo.processes import WorkerProcess, Workers
from penstock.demo.screen import Bars, Screen
from penstock.demo.tables import show_failed, show_figures
from penstock.errors import PenstockError
from penstock.event import event_type
from penstock.operations import FailedWhich, Operations, RetryOutcome

__all__ = ["Story"]

_STREAM = "flights"
_GROUPS = ("delays", "board")
_CHUNK = 1000
_LOOK_EVERY_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0
_SHOWN = 8


@dataclass
class Killed:
    """What is known of the worker that was killed."""

    worker: WorkerProcess
    held: int
    """Events delivered to it and not acknowledged: nobody but the server knew of them then."""
    when: float
    claimed_after: float | None = None


@dataclass
class Story:
    """One telling. `tell` says whether all came out as it should."""

    screen: Screen
    workers: Workers
    folder: Path
    limit: int | None
    operations: Operations = field(default_factory=lambda: Operations(app))
    emitted: int = 0
    killed: Killed | None = None
    whereabouts: Whereabouts = field(default_factory=lambda: follow(app))

    async def tell(self) -> bool:
        """Tell it from beginning to end. Raises `PenstockError` when it cannot go on."""
        began = time.monotonic()
        table = list(flights(self.limit))
        events = [event for flight in table for event in events_of(flight)]
        await self._introduce(table, events)
        board = await self._listen()
        await self._emit_and_handle(events)
        await self._look_at_the_failed()
        await self._mend(board)
        equal = await self._compare(table)
        equal = await self._follow_the_aircraft(table) and equal
        equal = await self._archive_and_restore() and equal
        equal = await Keeping(self.screen, self.workers).tell(table) and equal
        self.screen.say(f"Everything took {time.monotonic() - began:.1f} s.")
        return equal

    # -- the beginning ------------------------------------------------------------------------------------------

    async def _introduce(self, table: Sequence[Flight], events: Sequence[FlightEvent]) -> None:
        counts: dict[str, int] = {}
        for event in events:
            name = event_type(event).name
            counts[name] = counts.get(name, 0) + 1
        self.screen.title(
            f"{len(table):,} real flights out of New York in 2013, told as {len(events):,} events"
        )
        self.screen.say(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        [server] = await self.operations.servers()
        self.screen.say(f"server: {server.product} {server.version}, started for this in {self.folder}")

    async def _listen(self) -> WorkerProcess:
        self.screen.step("Two consumer groups listen, in processes of their own")
        started = [
            self.workers.start("delays", 1, release=1),
            self.workers.start("delays", 2, release=1),
            self.workers.start("board", 1, release=1),
        ]
        for worker in started:
            await self._until_it_listens(worker)
            self.screen.say(f"group {worker.group:<6}  consumer {worker.consumer}  process {worker.pid}")
        return started[-1]

    async def _until_it_listens(self, worker: WorkerProcess) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            detail = await self.operations.group(_STREAM, worker.group)
            if any(consumer.name == worker.consumer for consumer in detail.consumers):
                return
            self.workers.check()
            if time.monotonic() > deadline:
                raise PenstockError(f"the worker {worker.consumer} does not begin; see {worker.log}")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    # -- the middle ---------------------------------------------------------------------------------------------

    async def _emit_and_handle(self, events: Sequence[FlightEvent]) -> None:
        total = len(events)
        self.screen.step("Flights depart and arrive; one worker is killed in the middle of it")
        began = time.monotonic()
        with self.screen.bars(total, "emitted", *_GROUPS) as bars:
            try:
                async with asyncio.TaskGroup() as tasks:
                    handling = tasks.create_task(self._watch(total, bars))
                    emitting = tasks.create_task(self._emit(events))
            except ExceptionGroup as failures:
                # The first is why; what the other task met then tells no more.
                raise failures.exceptions[0] from None
        emit_seconds, handle_seconds = emitting.result() - began, handling.result() - began
        self.screen.say(
            f"emitted {total:,} events in {emit_seconds:.1f} s: {total / emit_seconds:,.0f} a second"
        )
        self.screen.say(
            f"handled by both groups in {handle_seconds:.1f} s: {2 * total / handle_seconds:,.0f} a second"
        )
        self._tell_of_the_killed()

    async def _emit(self, events: Sequence[FlightEvent]) -> float:
        """Emit all of it, up to a thousand events a write; when that was done."""
        total = len(events)
        size = min(_CHUNK, total // 50)
        for start in range(0, total, size):
            published = await app.emit_many(events[start : start + size])
            self.emitted += len(published)
            if self.killed is None and self.emitted > total // 3:
                # A good handful makes the better story; in the last third anything will do.
                await self._kill_one_at_work(at_least=size // 10 if self.emitted < total * 2 // 3 else 1)
        return time.monotonic()

    async def _kill_one_at_work(self, *, at_least: int) -> None:
        """Kill the first worker of the delays, if it holds that many events at this moment."""
        worker = next(each for each in self.workers.running if each.consumer == "delays-1")
        worker.pause()
        detail = await self.operations.group(_STREAM, worker.group)
        held = sum(consumer.pending for consumer in detail.consumers if consumer.name == worker.consumer)
        if held < at_least:
            worker.go_on()
            return
        self.workers.kill(worker)
        self.killed = Killed(worker, held, time.monotonic())
        self.screen.say(
            f"kill -9 {worker.pid}: {worker.consumer} is gone, and held {held:,} events unacknowledged",
            style="red",
        )

    async def _watch(self, total: int, bars: Bars) -> float:
        """Show how far the groups are until both have settled everything; when that was."""
        while True:
            done: dict[str, int] = {}
            # Noted first: what is emitted while the server is asked may be missing in its answer.
            emitted = self.emitted
            for summary in await self.operations.groups(_STREAM):
                done[summary.name] = max(0, emitted - summary.lag_entries - summary.pending)
            bars.show(emitted=emitted, **{name: done[name] for name in _GROUPS})
            await self._look_after_the_killed()
            self.workers.check()
            if all(done[name] >= total for name in _GROUPS):
                return time.monotonic()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _look_after_the_killed(self) -> None:
        killed = self.killed
        if killed is None or killed.claimed_after is not None:
            return
        detail = await self.operations.group(_STREAM, killed.worker.group)
        if not any(each.pending for each in detail.consumers if each.name == killed.worker.consumer):
            killed.claimed_after = time.monotonic() - killed.when

    def _tell_of_the_killed(self) -> None:
        if (killed := self.killed) is None:
            raise PenstockError("no worker could be caught at work to be killed; try again with more flights")
        with Book(self.book) as book:
            again = book.repeats(killed.worker.group)
        self.screen.say(
            f"{killed.claimed_after or 0:.1f} s after the kill delays-2 had claimed all {killed.held:,} events that "
            f"{killed.worker.consumer} held.\n{again:,} of them had been counted before they could be acknowledged: "
            "they came again, and did not count twice."
        )

    # -- a failure ----------------------------------------------------------------------------------------------

    async def _look_at_the_failed(self) -> None:
        self.screen.step("One listener has failed, on real data; what failed waits in a list")
        failed = await self.operations.failed_show(FailedWhich(group="board"), limit=_SHOWN)
        show_failed(self.screen, failed)
        count = await self._failed_count()
        self.screen.say(
            f"{count:,} in all, {len(failed)} shown. Midnight is 2400 in this table, and no hour is 24.\n"
            "The other events of their batches went through: a failing batch is run again one by one."
        )

    async def _failed_count(self) -> int:
        plan = await self.operations.failed_plan(FailedWhich(stream=_STREAM))
        return sum(part.count for part in plan.parts)

    async def _mend(self, board: WorkerProcess) -> None:
        self.screen.step("The listener is mended, and what failed is run again")
        self.workers.stop(board)
        mended = self.workers.start("board", 2, release=2)
        await self._until_it_listens(mended)
        self.screen.say(
            f"{board.consumer} has ended in good order; {mended.consumer} runs release 2 in process {mended.pid}"
        )
        # `penstock failed retry --group board` does just this.
        outcomes = dict.fromkeys(RetryOutcome, 0)
        async for result in self.operations.failed_retry(FailedWhich(group="board")):
            outcomes[result.outcome] += 1
        told = ", ".join(f"{count:,} {outcome.value}" for outcome, count in outcomes.items() if count)
        self.screen.say(f"retried: {told or 'nothing'}; left in the list: {await self._failed_count():,}")

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def book(self) -> Path:
        """The file with the folded figures."""
        return app.settings.data_folder / "flights.sqlite"

    async def _compare(self, table: Sequence[Flight]) -> bool:
        self.screen.step("The folded figures beside those computed straight from the table")
        computed = compute(table)
        with Book(self.book) as book:
            folded = book.figures()
            counted = {group: book.counted(group) for group in _GROUPS}
        show_figures(self.screen, folded)
        wrong = differences(folded, computed)
        for summary in await self.operations.groups(_STREAM):
            failed = summary.failed + summary.retrying
            self.screen.say(
                f"group {summary.name:<6}  {self.emitted:,} emitted, {counted[summary.name]:,} counted, "
                f"{summary.lag_entries + summary.pending:,} left, {failed:,} failed"
            )
            if counted[summary.name] != self.emitted or summary.lag_entries or summary.pending or failed:
                wrong.append(f"group {summary.name} has not settled everything")
        if wrong:
            self.screen.say("\n".join(["NOT EQUAL:", *wrong[:_SHOWN]]), style="bold red")
            return False
        self.screen.say(
            f"equal: {len(folded.carriers)} carriers and {len(folded.airports)} airports, to the minute",
            style="bold green",
        )
        return True

    # -- order by key, and the archive --------------------------------------------------------------------------

    async def _follow_the_aircraft(self, table: Sequence[Flight]) -> bool:
        self.screen.step("A keyed group follows each aircraft: its flights in order, many aircraft at once")
        legs, found = legs_of(table), self.whereabouts
        for start in range(0, len(legs), _CHUNK):
            await app.emit_many(legs[start : start + _CHUNK])
        began = time.monotonic()
        await work(app)
        seconds = time.monotonic() - began
        self.screen.say(
            f"handled {found.handled:,} flights of {len(found.last):,} aircraft in {seconds:.1f} s, "
            f"up to {found.most_at_once} at the same time"
        )
        right = found.handled == len(legs) and not found.disordered
        right = right and found.last == {leg.tail: leg for leg in legs}
        if right:
            self.screen.say("each aircraft's flights came in their order", style="bold green")
        else:
            self.screen.say(f"NOT IN ORDER: {found.disordered:,} flights", style="bold red")
        return right

    async def _archive_and_restore(self) -> bool:
        self.screen.step("What was handled goes to the archive, and one event comes back")
        archive, began = self.operations.archive, time.monotonic()
        archived = 0
        async for page in archive.run(await archive.places([STREAM])):
            archived += page.archived
        left = await (await app.broker_for(STREAM)).length(STREAM)
        self.screen.say(
            f"archived {archived:,} events in {time.monotonic() - began:.1f} s; {left:,} are left in the stream"
        )
        one = (await archive.messages(STREAM, limit=1)).items[0].message
        async for restored in archive.restore(stream=STREAM, id=one.event_id):
            self.screen.say(
                f"restored {one.name} of {one.key}: it was {restored.old_id}, it is {restored.new_id}"
            )
        await work(app)
        back = self.whereabouts.came_back
        right = archived == self.whereabouts.handled and left == 0
        right = right and [message.id for message in back] == [one.event_id]
        if right:
            self.screen.say(
                f"group {GROUP} has seen it once more, and knew it by its first place", style="bold green"
            )
        else:
            self.screen.say("NOT RIGHT: the archive and the group disagree", style="bold red")
        return right
