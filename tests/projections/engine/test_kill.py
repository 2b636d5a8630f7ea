"""kill -9 and SIGSTOP of projecting processes: every event counts once, whatever the moment."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.projections._engine import _checkpoints, _failures
from penstock.store.abc import StoreBackend
from tests.forking import Forks
from tests.projections.engine.doubles import add, append, applied, checkpoint, new_event, totals


class Processes:
    """Starts projecting processes, and ends those that are left."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        """One process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.projections.engine.projecting", self.url, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    async def run(self, *options: str) -> int:
        """One process, to its end; its exit code."""
        return await asyncio.to_thread(self.start(*options).wait, 60)

    def end(self) -> None:
        """Kill and collect."""
        for process in self.started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def processes(store: StoreBackend) -> Iterator[Processes]:
    """Projecting processes on the store of the test."""
    some = Processes(store.database.url)
    yield some
    some.end()


class Forked(Forks):
    """Projecting processes one after the other, forked from one that has imported everything."""

    def __init__(self, url: str) -> None:
        super().__init__("tests.projections.engine.projecting", "--serve", url)

    async def run(self, *options: str, kill_after_ms: int = 0) -> int:
        """One process, to its end, or killed from outside after so long; its exit code."""
        return (await asyncio.to_thread(self.ask, kill_after_ms, *options))[0]


@pytest.fixture
def forked(store: StoreBackend) -> Iterator[Forked]:
    """Projecting processes on the store of the test."""
    some = Forked(store.database.url)
    yield some
    some.end()


@pytest.mark.covers("PROJ-15")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_a_projecting_process_killed_at_random_counts_exactly(
    store: StoreBackend, forked: Forked, torture: bool
) -> None:
    """A thousand times in the long form, around any statement or commit, or at any time: nothing is missed or twice."""
    kills, runs, moved, stored, reached = 0, 0, 0, 0, 0
    choose = random.Random(4)
    wanted = 1000 if torture else 12
    while kills < wanted:
        await append(store, *(new_event(key=str(number % 5)) for number in range(30)))
        stored += 30
        if runs % 2:
            code = await forked.run("--lease", "50", kill_after_ms=choose.randrange(20, 500))
        else:
            code = await forked.run("--die-at", str(choose.randrange(0, 300)), "--lease", "50")
        runs += 1
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            assert checkpoint(store.database).position == stored
        before, reached = reached, _position(store)
        moved += reached > before
    assert await forked.run() == 0
    assert applied(store.database) == list(range(1, stored + 1))
    assert totals(store.database) == {str(number): stored // 5 for number in range(5)}
    sys.stdout.write(
        f"{store.dialect}: {kills} kills in {runs} runs, {moved} of which moved the checkpoint, "
        f"to {reached} of {stored} events, counted exactly\n"
    )


def _position(store: StoreBackend) -> int:
    with closing(store.database.connect()) as connection:
        found = _checkpoints.read(store.database, connection, "totals", "")
    return 0 if found is None else found.position


@pytest.mark.covers("PROJ-15")
@pytest.mark.parametrize("moment", ["before", "sent", "after"])
async def test_a_process_killed_around_a_commit_counts_exactly(
    store: StoreBackend, forked: Forked, moment: str
) -> None:
    """At each commit of a run: before it, after it, and (PostgreSQL) when it was sent and its answer not heard."""
    if store.dialect == "sqlite" and moment == "sent":
        # There is no server: a commit is over when the call returns.
        moment = "after"
    stored = number = 0
    for number in range(100):
        await add(store, 10)
        stored += 10
        code = await forked.run("--die-at-commit", str(number), "--moment", moment, "--lease", "50")
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert await forked.run("--lease", "50") == 0
        assert applied(store.database) == list(range(1, stored + 1)), f"commit {number}"
    assert 6 <= number < 100
    assert applied(store.database) == list(range(1, stored + 1))
    assert totals(store.database) == {"k": stored}


@pytest.mark.covers("PROJ-14")
async def test_a_stopped_process_that_wakes_up_changes_nothing(
    store: StoreBackend, processes: Processes
) -> None:
    """It stood still in the middle of a page, somebody took over, and nothing of its page is kept."""
    await add(store, 6)
    stopped = processes.start("--slow", "400", "--lease", "200")
    assert stopped.stdout is not None
    assert await asyncio.to_thread(stopped.stdout.readline) == "1\n"
    assert await asyncio.to_thread(stopped.stdout.readline) == "2\n"
    stopped.send_signal(signal.SIGSTOP)
    if store.dialect == "sqlite":
        # A SQLite file takes no other writer as long as a stopped process is in the middle of a transaction.
        stopped.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(stopped.wait, 30) == 0
    else:
        assert await processes.run() == 0
        assert applied(store.database) == [1, 2, 3, 4, 5, 6]
        stopped.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(stopped.wait, 30) == 0
    assert applied(store.database) == [1, 2, 3, 4, 5, 6]
    assert totals(store.database) == {"k": 6}


@pytest.mark.covers("PROJ-14")
async def test_a_slow_handler_never_leads_to_two_runners(store: StoreBackend, processes: Processes) -> None:
    """Each event takes ten times the lease, and two processes want it: no event is handled by both."""
    await add(store, 3)
    both = [processes.start("--slow", "1000", "--lease", "100", "--page", "2") for _ in range(2)]
    heard = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in both))
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("".join(out for out, _ in heard).split()) == ["1", "2", "3"]
    assert applied(store.database) == [1, 2, 3]


@pytest.mark.covers("PROJ-9")
async def test_a_killed_runner_is_replaced(store: StoreBackend, processes: Processes) -> None:
    """Within the lease and a look, by a process that stood by."""
    first = processes.start("--forever", "--slow", "1")
    await add(store, 1)
    assert first.stdout is not None
    assert await asyncio.to_thread(first.stdout.readline) == "1\n"
    second = processes.start("--forever")
    first.kill()
    await add(store, 5)
    async with asyncio.timeout(20):
        while len(applied(store.database)) < 6:
            await asyncio.sleep(0.02)
    second.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(second.wait, 20) == 0
    assert applied(store.database) == [1, 2, 3, 4, 5, 6]


@pytest.mark.covers("PROJ-16")
async def test_an_event_that_kills_the_process_is_found_out(
    store: StoreBackend, processes: Processes
) -> None:
    """Its attempts are counted before its handler runs; then the policy applies, and all others are handled."""
    await add(store, 20)
    deaths = 0
    async with asyncio.timeout(60):
        while await processes.run("--poison", "11", "--policy", "skip", "--lease", "50") != 0:
            deaths += 1
    assert 3 <= deaths <= 6
    assert applied(store.database) == [each for each in range(1, 21) if each != 11]
    with closing(store.database.connect()) as connection:
        [failure] = _failures.listed(store.database, connection, name="totals")
    assert failure.position == 11
    assert "the process ended while it handled this event" in failure.message
