"""What this demo tells, in order: build, follow, verify, promote, roll back, promote again, remove."""

import asyncio
import inspect
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from penstock import App
from penstock.demo.data import Flight, flights
from penstock.demo.events import events_of
from penstock.demo.processes import WorkerProcess, Workers, settled_environment
from penstock.demo.replaying.board import NEW_COLUMN, PROJECTION, make_app
from penstock.demo.replaying.process import READER
from penstock.demo.replaying.reading import LOG, read_log, summed
from penstock.demo.screen import Bars, Screen
from penstock.errors import PenstockError
from penstock.operations import Operations
from penstock.replays.abc import ReplayProgress, Switched

__all__ = ["FEWEST_FLIGHTS", "Story", "main"]

FEWEST_FLIGHTS: Final = 500
"""With fewer there is nothing to look at."""
_KEY: Final = "count flights on time"
_FLIGHTS_AT_ONCE: Final = 500
_FLIGHTS_WHILE: Final = 10
"""The writer books so many in a transaction, and then waits a little: it goes on through the whole story."""
_WRITE_PAUSE_SECONDS: Final = 0.05
_LOOK_EVERY_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 60.0
_MODULE: Final = "penstock.demo.replaying.process"
_INTERRUPTED: Final = 130

_SETTINGS: Final = """\
app = "penstock.demo.replaying.board:app"
streams = "memory://"
store = {store}
"""


def main(flights: int, store: str) -> int:
    """Rebuild a read model while it is written and read; 0 if its reader noticed nothing and all figures are right."""
    former = dict(os.environ)
    folder = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    try:
        os.environ.clear()
        os.environ.update(settled_environment(former))
        settings = _SETTINGS.format(store=json.dumps(store))
        (folder / "penstock.toml").write_text(settings, encoding="utf-8")
        with Workers(folder, module=_MODULE) as workers:
            return asyncio.run(_play(folder, workers, flights))
    except (KeyboardInterrupt, asyncio.CancelledError):
        Screen().say("interrupted; all processes are being ended")
        return _INTERRUPTED
    finally:
        os.environ.clear()
        os.environ.update(former)
        shutil.rmtree(folder, ignore_errors=True)


async def _play(folder: Path, workers: Workers, count: int) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    app = make_app(version=2)
    app.configure(file=folder / "penstock.toml")
    async with app:
        return 0 if await Story(Screen(), workers, folder, app, count).tell() else 1


@dataclass
class Story:
    """One telling. `tell` says whether all came out as it should."""

    screen: Screen
    workers: Workers
    folder: Path
    app: App
    """As the new code declares it."""
    count: int
    """How many flights there are before it begins."""
    booked: int = 0
    table: list[Flight] = field(default_factory=list[Flight])

    async def tell(self) -> bool:
        """Tell it from beginning to end. Raises `PenstockError` when it cannot go on."""
        began = time.monotonic()
        self.table = await asyncio.to_thread(lambda: list(flights()))
        former = await self._begin()
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(stop), name="writer")
                await self._rebuild()
                await self._switch_to_and_fro()
                stop.set()
        except ExceptionGroup as failures:
            # The first is why; what the other met then tells no more.
            raise failures.exceptions[0] from None
        right = await self._compare()
        await self._clean_up(former)
        self.screen.say(f"Everything took {time.monotonic() - began:.1f} s.")
        return right

    # -- the beginning --------------------------------------------------------------------------------------------

    async def _begin(self) -> WorkerProcess:
        self.screen.title(f"The read model of {self.count:,} flights gets a new column, {NEW_COLUMN!r}")
        self.screen.step("Version 1 of the code is live; one writes, one reads")
        await Operations(self.app).databases.migrate()
        while self.booked < self.count:
            await self._book(min(_FLIGHTS_AT_ONCE, self.count - self.booked))
        former = self.workers.start(PROJECTION, 1, release=1)
        await self._until("process of version 1 projects everything", self._is_all_live)
        reader = self.workers.start(READER, 1, release=1)
        log = self.folder / LOG
        await self._until("the reader reads", lambda: log.exists() and log.stat().st_size > 0)
        self.screen.say(f"process {former.pid} projects {self.booked:,} flights into two tables")
        self.screen.say(
            f"process {reader.pid} reads both together, all the time, and writes down what it sees"
        )
        self.screen.say("flights go on being booked from now to the end")
        return former

    async def _book(self, count: int) -> None:
        chunk = list(islice(self.table, self.booked, self.booked + count))
        if not chunk:
            raise PenstockError("there are no flights left to book; this machine is too slow for the demo")
        await self.app.store().append([event for flight in chunk for event in events_of(flight)])
        self.booked += len(chunk)

    async def _write(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._book(_FLIGHTS_WHILE)
            self.workers.check()
            await asyncio.sleep(_WRITE_PAUSE_SECONDS)

    # -- the middle -----------------------------------------------------------------------------------------------

    async def _rebuild(self) -> None:
        replays = self.app.replays
        self.screen.step("Version 2 is deployed beside it, and builds a copy with the new column")
        new = self.workers.start(PROJECTION, 2, release=2)
        plan = await replays.plan([PROJECTION])
        self.screen.say(
            f"planned: {plan.events:,} events for {', '.join(plan.tables)}, now {plan.disk_bytes / 1024:,.0f} KiB"
        )
        await replays.create(_KEY, [PROJECTION], who="demo")
        with self.screen.bars(plan.events, "built") as bars:
            await replays.start(_KEY, on_progress=_showing(bars, plan.events))
        [play, *_] = await replays.plays(_KEY)
        self.screen.say(f"{play.events:,} events were played, up to position {play.to_position:,}")
        self.screen.step("It follows: process by process, each version feeds its own")
        await replays.follow(_KEY)
        await self._until("the new process feeds it", self._is_fed)
        self.screen.say(f"process {new.pid} feeds it with what is written now")
        self.screen.step("It is compared with what is live, at one position")
        report = await replays.verify(_KEY)
        for table in report.tables:
            self.screen.say(
                f"{table.table}: {table.live_rows} rows live, {table.copy_rows} in the copy, {table.differing} differ; "
                f"only in the copy: {', '.join(table.only_copy) or 'nothing'}"
            )
        self.screen.say(
            f"at position {report.position:,}; both stood still for {_ms(report.held)} of {_ms(report.took)}"
        )
        if not report.is_green:
            raise PenstockError("the copy is not what is live; so it is not promoted")

    async def _switch_to_and_fro(self) -> None:
        replays = self.app.replays
        self.screen.step("It is promoted, rolled back, and promoted again")
        for step, switch, has_column in (
            ("promoted", replays.promote, True),
            ("rolled back", replays.rollback, False),
            ("promoted again", replays.promote, True),
        ):
            switched: Switched = await switch(_KEY, who="demo")
            self._tell_of(step, switched)
            if await asyncio.to_thread(self._has_column) is not has_column:
                raise PenstockError(f"{step}, and column {NEW_COLUMN!r} is not as it should be")
            # So that the reader sees this one, too, and both versions write on.
            before = await asyncio.to_thread(self._departed)
            await self._until("what is live goes on", partial(self._has_more_than, before))

    def _tell_of(self, step: str, switched: Switched) -> None:
        tables = ", ".join(switched.tables)
        self.screen.say(
            f"{step} at position {switched.position:,}: {tables}; others waited {_ms(switched.locked)}"
        )

    # -- the end --------------------------------------------------------------------------------------------------

    async def _compare(self) -> bool:
        self.screen.step("The writer has ended; what came of it?")
        await self._until("everything is projected", self._is_all_live)
        [reader] = [each for each in self.workers.running if each.group == READER]
        await asyncio.to_thread(self.workers.stop, reader)
        reads = summed(read_log(self.folder / LOG))
        self.screen.say(
            f"the reader read {reads.count:,} times, at most {reads.longest_pause * 1000:,.0f} ms apart, and saw the "
            f"column come or go {reads.switches} times"
        )
        wrong = [*reads.errors]
        wrong += [f"torn: {each}" for each in reads.torn]
        wrong += [f"fewer than before: {each}" for each in reads.backwards]
        if reads.switches != 3:
            wrong.append("it did not see all three switches")
        if await asyncio.to_thread(self._live) != expected(self.table[: self.booked]):
            wrong.append("the read model is not what the table of flights says")
        if wrong:
            self.screen.say("\n".join(["NOT RIGHT:", *wrong[:20]]), style="bold red")
            return False
        self.screen.say("no error, nothing torn, and never fewer flights than before", style="bold green")
        self.screen.say(
            f"equal: {self.booked:,} flights, counted with the new column as the table has them",
            style="bold green",
        )
        return True

    async def _clean_up(self, former: WorkerProcess) -> None:
        self.screen.step("Version 1 is ended, and its tables are removed")
        await asyncio.to_thread(self.workers.stop, former)
        await self.app.replays.remove(_KEY, who="demo")
        self.screen.say(f"left of the replay: its log with {len(await self.app.replays.log(_KEY))} deeds")

    # -- looking --------------------------------------------------------------------------------------------------

    async def _until(self, what: str, is_so: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not await _asked(is_so):
            self.workers.check()
            if time.monotonic() > deadline:
                raise PenstockError(f"waited {_PATIENCE_SECONDS:.0f} s in vain until {what}")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _is_fed(self) -> bool:
        return (await self.app.replays.progress(_KEY)).is_running

    def _is_all_live(self) -> bool:
        wanted = sum(flight.departed is not None for flight in self.table[: self.booked])
        return self._has_table() and self._departed() == wanted

    def _has_table(self) -> bool:
        schema = (
            "SELECT count(*) FROM sqlite_master WHERE name = 'airports'"
            if self.app.store().database.dialect == "sqlite"
            else "SELECT count(*) FROM pg_class WHERE oid = to_regclass('airports')"
        )
        return bool(self._rows(schema)[0][0])

    def _departed(self) -> int:
        return int(self._rows("SELECT coalesce(sum(departed), 0) FROM carriers")[0][0])

    def _has_more_than(self, before: int) -> bool:
        return self._departed() > before

    def _has_column(self) -> bool:
        database = self.app.store().database
        with closing(database.connect(application="demo")) as connection:
            database.begin(connection, write=False)
            # The names of what comes back: the same on both databases.
            found: Any = database.execute(connection, "SELECT * FROM carriers LIMIT 0")
            names = [each[0] for each in found.description]
            connection.rollback()
        return NEW_COLUMN in names

    def _live(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {
            table: {
                code: tuple(numbers)
                for code, *numbers in self._rows(f"SELECT code, departed, minutes, {NEW_COLUMN} FROM {table}")
            }
            for table in ("carriers", "airports")
        }

    def _rows(self, sql: str) -> list[Any]:
        database = self.app.store().database
        with closing(database.connect(application="demo")) as connection:
            database.begin(connection, write=False)
            found = database.execute(connection, sql).fetchall()
            connection.rollback()
        return found


def expected(table: Sequence[Flight]) -> dict[str, dict[str, tuple[int, ...]]]:
    """What both tables have to hold, straight from the table of flights."""
    found: dict[str, dict[str, tuple[int, ...]]] = {"carriers": {}, "airports": {}}
    for flight in table:
        if flight.departed is None or flight.departure_delay is None:
            continue
        delay = flight.departure_delay
        for place, code in (("carriers", flight.carrier), ("airports", flight.origin)):
            departed, minutes, on_time = found[place].get(code, (0, 0, 0))
            found[place][code] = (departed + 1, minutes + delay, on_time + (delay < 15))
    return found


def _showing(bars: Bars, total: int) -> Callable[[ReplayProgress], None]:
    def show(progress: ReplayProgress) -> None:
        bars.show(built=min(progress.handled, total))

    return show


def _ms(time: timedelta) -> str:
    return f"{time / timedelta(milliseconds=1):,.1f} ms"


async def _asked(is_so: Callable[[], Any]) -> bool:
    if inspect.iscoroutinefunction(is_so):
        return bool(await is_so())
    return bool(await asyncio.to_thread(is_so))
