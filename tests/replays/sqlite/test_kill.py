"""SIGKILL at each step of making, promoting, rolling back, removing in SQLite: it is whole, and goes on by itself."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest

import pytest

from penstock.store._sqlite import SqliteBackend
from tests.forking import Forks
from tests.replays.sqlite.spending import Thing, both, direct
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY


class Processes(Forks):
    """Processes one after the other, each with its task."""

    def __init__(self, path: str) -> None:
        super().__init__("tests.replays.sqlite.cycling", path)

    async def run(self, what: str, die_at: int = 0) -> tuple[int, int]:
        """One process to its end, or killed; its exit code, and how many steps it took."""
        code, steps = await asyncio.to_thread(self.ask, die_at, what)
        return code, steps


@pytest.fixture
def store(store_in_memory: SqliteBackend) -> SqliteBackend:
    """What a killed process has written is in the system's hands, wherever the files are."""
    return store_in_memory


@pytest.fixture
def processes(store: SqliteBackend) -> Iterator[Processes]:
    """Processes on the database of the test."""
    some = Processes(str(store.database.path))
    yield some
    some.end()


def moments(steps: int, wanted: int) -> range:
    """Steps to be killed at: all of them, or about as many as wanted, evenly."""
    return range(1, steps + 1, max(steps // wanted, 1))


def check(store: SqliteBackend) -> int:
    """What a reader finds: one version of everything, and what is recorded; which."""
    with direct(store.database.path) as user:
        totals, entries = both(user)
        [version] = user.execute("SELECT version FROM recorded").fetchone()
        assert {row[2] for row in totals} == {row[2] for row in entries} == {version}
        assert sum(row[1] for row in totals) == len(entries)
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert user.execute("PRAGMA foreign_key_check").fetchall() == []
        assert user.execute("SELECT count(*) FROM pragma_index_list('totals')").fetchone() == (2,)
        checkpoint = "SELECT version FROM penstock_checkpoints WHERE generation = ''"
        assert user.execute(checkpoint).fetchone() == (version,)
    return int(version)


def check_all(store: SqliteBackend, thing: Thing, stored: int) -> None:
    """Both generations have every event once."""
    check(store)
    for connect in (store.database.connect, thing.copy.database.connect):
        with closing(connect()) as connection:
            found = connection.execute("SELECT position FROM main.entries ORDER BY position").fetchall()  # type: ignore[attr-defined]
            assert [place for [place] in found] == list(range(1, stored + 1))
    assert thing.place().version + thing.place(KEY).version == 3


async def live_of(store: SqliteBackend) -> Thing:
    """A live read model with something in it."""
    await add(store, 60)
    thing = Thing(store)
    thing.run_live()
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE recorded (version INTEGER)")
        user.execute("INSERT INTO recorded VALUES (1)")
    return thing


def check_nothing_left(store: SqliteBackend) -> None:
    """No file, no table, no row of a copy."""
    assert not list(store.database.path.parent.glob("*.replay*"))
    with direct(store.database.path) as user:
        assert user.execute("SELECT count(*) FROM penstock_replay_files").fetchone() == (0,)
        left = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'penstock_shadow%'"
        assert user.execute(left).fetchone() == (0,)
        assert user.execute("SELECT DISTINCT generation FROM penstock_checkpoints").fetchall() == [("",)]


@pytest.mark.covers("ZDT-10", "ZDT-12", "LEAD-2")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_a_switch_killed_at_any_step_is_whole_and_goes_on(
    store: SqliteBackend, processes: Processes, torture: bool
) -> None:
    """All-old or all-new with its record, at once; and the next process goes on from there without being told."""
    thing = await live_of(store)
    assert (await processes.run("build"))[0] == 0
    stored = 60
    code, steps = await processes.run("to2")
    assert (code, check(store)) == (0, 2)
    seen = set[bool]()
    kills = 0
    began = time.monotonic()
    for die_at in moments(steps, steps if torture else 14):
        await add(store, 2)
        stored += 2
        before = thing.place().version
        task = f"to{3 - before}"
        code, _ = await processes.run(task, die_at)
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        seen.add(check(store) != before)
        assert (await processes.run(task))[0] == 0
        assert check(store) == 3 - before
        check_all(store, thing, stored)
    assert seen == {False, True}
    sys.stdout.write(
        f"{kills} kills at {steps} steps, each either before or after, and carried on; "
        f"{time.monotonic() - began:.0f} s\n"
    )


@pytest.mark.covers("ZDT-13")
@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_making_and_removing_killed_at_any_step_leave_nothing_behind(
    store: SqliteBackend, processes: Processes, torture: bool
) -> None:
    """A half-made copy is made again, a half-removed one is removed, and what is live stays as it is."""
    thing = await live_of(store)
    code, making = await processes.run("make")
    assert code == 0
    for task in ("build", "prepare"):
        assert (await processes.run(task))[0] == 0
    code, dropping = await processes.run("drop")
    assert code == 0
    check_nothing_left(store)
    wanted = max(making, dropping) if torture else 6
    began = time.monotonic()
    for number, (die_making, die_dropping) in enumerate(
        zip_longest(moments(making, wanted), moments(dropping, wanted), fillvalue=0)
    ):
        assert (await processes.run("make", die_making))[0] in (0, -signal.SIGKILL)
        assert check(store) == 1
        assert (await processes.run("build"))[0] == 0
        check_all(store, thing, 60)
        # Every fifth is also switched and back; all have shadow tables when they are removed.
        for task in ("prepare",) if number % 5 else ("to2", "to1"):
            assert (await processes.run(task))[0] == 0
        assert (await processes.run("drop", die_dropping))[0] in (0, -signal.SIGKILL)
        assert check(store) == 1
        assert (await processes.run("drop"))[0] == 0
        assert check(store) == 1
        check_nothing_left(store)
    sys.stdout.write(
        f"killed at {making} steps of making and {dropping} of removing; {time.monotonic() - began:.0f} s\n"
    )
