"""No reader misses an event, whoever commits when: writers in processes of their own against readers that follow."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from penstock.store import migrating
from penstock.store._postgres.alone import statement_alone
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.line import BlockingLine
from penstock.store.abc import Append, EventFilter
from tests.store.postgres.callers import new, table

_ROOT = Path(__file__).parents[3]
_EVERYTHING = EventFilter()


class Follower(threading.Thread):
    """Reads page by page from position 0 until it is told that nobody writes any more, and then to the end."""

    def __init__(self, store: PostgresBackend, *, limit: int = 50) -> None:
        super().__init__(daemon=True)
        self.positions: list[int] = []
        self.failure: BaseException | None = None
        self._store = store
        self._limit = limit
        self._over = threading.Event()

    def run(self) -> None:
        """Read."""
        reader = self._store.reader()
        try:
            at = 0
            while True:
                is_over = self._over.is_set()
                horizon = reader.horizon().position
                assert horizon >= at, "the horizon went back"
                while at < horizon:
                    page = reader.read(_EVERYTHING, after=at, through=horizon, limit=self._limit)
                    self.positions += [event.position for event in page.events]
                    at = page.through
                if is_over:
                    return
        except BaseException as failure:  # noqa: BLE001  the test says it
            self.failure = failure
        finally:
            reader.close()

    def finish(self) -> list[int]:
        """Read to the end; what was read."""
        self._over.set()
        self.join(60)
        assert self.failure is None
        assert not self.is_alive()
        return self.positions


class Naive(Follower):
    """Reads whatever is there above the last position that it saw, as one would without this store."""

    def run(self) -> None:
        """Read."""
        at = 0
        with psycopg.connect(self._store.database.url, autocommit=True) as connection:
            while True:
                is_over = self._over.is_set()
                rows = connection.execute(
                    "SELECT position FROM penstock_events WHERE position > %s ORDER BY position", (at,)
                ).fetchall()
                self.positions += [row[0] for row in rows]
                at = self.positions[-1] if self.positions else 0
                if is_over and not rows:
                    return


@contextmanager
def writing(
    url: str, *, processes: int, transactions: int, oracle: bool = False
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Writers at work."""
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.store.postgres.writer",
                url,
                str(seed),
                str(transactions),
                str(int(oracle)),
            ],
            cwd=_ROOT,
        )
        for seed in range(processes)
    ]
    try:
        yield started
        assert [each.wait(600) for each in started] == [0] * processes
    finally:
        for each in started:
            each.kill()
            each.wait()


def _migrated(url: str) -> PostgresBackend:
    store = PostgresBackend("local", url)
    migrating.apply(store.database)
    return store


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.covers("STORE-6", "LEAD-4")
def test_readers_from_the_start_and_late_ones_miss_nothing(
    each_postgres_database: str, torture: bool
) -> None:
    """Every committed event once, in order. A reader without the horizon misses some in the same run."""
    store = _migrated(each_postgres_database)
    early, late, naive = Follower(store), Follower(store, limit=7), Naive(store)
    early.start()
    naive.start()
    with writing(each_postgres_database, processes=4, transactions=5000 if torture else 150):
        while len(early.positions) < 100:
            assert early.failure is None
        late.start()
    expected = [position for position, _, _ in table(each_postgres_database)]
    assert early.finish() == expected
    assert late.finish() == expected
    missed = set(expected) - set(naive.finish())
    assert missed, "without a horizon some are missed, or this was no race"


@pytest.mark.covers("STORE-6")
def test_under_an_exclusive_lock_even_a_naive_reader_misses_nothing(postgres_database: str) -> None:
    """The oracle: the same writers one after the other. So it is the race that costs events, and not the test."""
    store = _migrated(postgres_database)
    naive, follower = Naive(store), Follower(store)
    naive.start()
    follower.start()
    with writing(postgres_database, processes=3, transactions=40, oracle=True):
        pass
    expected = [position for position, _, _ in table(postgres_database)]
    assert naive.finish() == expected
    assert follower.finish() == expected


_LOOP = """
DO $$ BEGIN
  FOR number IN 1..{count} LOOP
    PERFORM penstock_append_one(
      'loop-{seed}', {seed} || '-' || number, 'n', NULL, 1, NULL, NULL, '{{"time":1}}', -1, NULL);
    IF number % 7 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
  END LOOP;
END $$"""


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.covers("STORE-6")
def test_writers_as_fast_as_the_server_allows_hide_nothing(postgres_database: str, torture: bool) -> None:
    """Loops within the server; the long form draws ten million positions. 1 of 7 is rolled back."""
    store = _migrated(postgres_database)
    count = 2_500_000 if torture else 5_000
    follower = Follower(store, limit=1000)
    follower.start()
    loops = [threading.Thread(target=_loop, args=(postgres_database, seed, count)) for seed in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    read = follower.finish()
    assert read == sorted(set(read))
    with psycopg.connect(postgres_database) as connection:
        facts = connection.execute("SELECT count(*), sum(position) FROM penstock_events").fetchone()
    assert (len(read), sum(read)) == facts
    assert len(read) == 4 * (count - count // 7)


@pytest.mark.covers("STORE-6")
def test_plain_statements_as_fast_as_they_go_hide_nothing(postgres_database: str) -> None:
    """What the store sends for single events keeps the floor before the position, as the functions do."""
    store = _migrated(postgres_database)
    follower = Follower(store)
    follower.start()
    writers = [threading.Thread(target=_write_alone, args=(postgres_database, seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = [position for position, _, _ in table(postgres_database)]
    assert len(expected) == 4 * 300 * 2
    assert follower.finish() == expected


def _write_alone(url: str, seed: int) -> None:
    line = BlockingLine(PostgresDatabase("local", url))
    try:
        for number in range(300):
            some = [Append((new(f"{seed}-{each}", f"{seed} {number} {each}"),)) for each in range(2)]
            sql, parameters = statement_alone(some[: 1 + number % 2], number) or ("", ())
            line.query(sql, *parameters)
            if number % 2 == 0:
                sql, parameters = statement_alone(some[1:], number) or ("", ())
                line.query(sql, *parameters)
    finally:
        line.close()


def _loop(url: str, seed: int, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_LOOP.format(seed=seed, count=count).encode())
