"""SIGKILL at each step of making, promoting, rolling back, removing in SQLite: it is whole, and goes on by itself."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.store._sqlite import SqliteBackend
from tests.replays.sqlite.spending import KEY, Thing, both, direct
from tests.replays.sqlite.test_switch import add


class Processes:
    """Processes one after the other, each with its task."""

    def __init__(self, path: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.replays.sqlite.cycling", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def run(self, what: str, die_at: int = 0) -> tuple[int, int]:
        """One process to its end, or killed; its exit code, and how many steps it took."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{die_at} {what}\n")
        stdin.flush()
        code, steps = (await asyncio.to_thread(stdout.readline)).split()
        return int(code), int(steps)

    def end(self) -> None:
        """End them."""
        self._server.communicate(timeout=60)


@pytest.fixture
def processes(store: SqliteBackend) -> Iterator[Processes]:
    """Processes on the database of the test."""
    some = Processes(str(store.database.path))
    yield some
    some.end()


def moments(steps: int, wanted: int) -> list[int]:
    """Steps to be killed at: all of them, or as many as wanted, evenly."""
    return list(range(1, steps + 1, max(steps // wanted, 1)))


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
    code, steps = await processes.run("cycle")
    assert (code, check(store)) == (0, 2)
    seen = set[int]()
    kills = 0
    for die_at in moments(steps, 10_000 if torture else 14):
        await add(store, 4)
        stored += 4
        before = thing.place().version
        code, _ = await processes.run("cycle", die_at)
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        after = check(store)
        seen.add(int(after != before))
        if after == before:
            assert (await processes.run("cycle"))[0] == 0
        assert (await processes.run("run"))[0] == 0
        assert check(store) == 3 - before
        check_all(store, thing, stored)
    assert seen == {0, 1}
    sys.stdout.write(f"{kills} kills at {steps} steps, each either before or after, and carried on\n")


@pytest.mark.covers("ZDT-13")
@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_making_and_removing_killed_at_any_step_leave_nothing_behind(
    store: SqliteBackend, processes: Processes, torture: bool
) -> None:
    """A half-made copy is made again, a half-removed one is removed, and what is live stays as it is."""
    thing = await live_of(store)
    code, building = await processes.run("build")
    assert code == 0
    code, dropping = await processes.run("drop")
    assert code == 0
    wanted = 10_000 if torture else 5
    for die_at in moments(building, wanted):
        code, _ = await processes.run("build", die_at)
        assert code in (0, -signal.SIGKILL)
        assert (await processes.run("build"))[0] == 0
        check_all(store, thing, 60)
        assert (await processes.run("cycle"))[0] == 0
        assert (await processes.run("cycle"))[0] == 0
        assert (await processes.run("drop"))[0] == 0
    for die_at in moments(dropping, wanted):
        assert (await processes.run("build"))[0] == 0
        code, _ = await processes.run("drop", die_at)
        assert code in (0, -signal.SIGKILL)
        assert (await processes.run("drop"))[0] == 0
        assert check(store) == 1
        assert not list(store.database.path.parent.glob("*.replay*"))
        with direct(store.database.path) as user:
            assert user.execute("SELECT count(*) FROM penstock_replay_files").fetchone() == (0,)
            left = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'penstock_shadow%'"
            assert user.execute(left).fetchone() == (0,)
