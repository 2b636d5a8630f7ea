"""Rights that somebody gives or takes at the very moment of a switch: both are done, one after the other."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from penstock.replays._postgres import switching, switching_plan
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import projected, switched
from tests.replays.postgres.test_removing import until

_READER = "penstock_tests_given"
_TOTALS = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, number serial)",
    "CREATE VIEW shown AS SELECT customer, mark FROM totals",
    "INSERT INTO totals VALUES ('ann', 'old')",
)
_GIVEN = f"""
SELECT 'table ' || c.relname || ' ' || e.privilege_type FROM pg_class c, aclexplode(c.relacl) e
 WHERE c.oid IN ('public.totals'::regclass, 'public.shown'::regclass) AND e.grantee = '{_READER}'::regrole
UNION ALL SELECT 'column ' || a.attname || ' ' || e.privilege_type FROM pg_attribute a, aclexplode(a.attacl) e
 WHERE a.attrelid = 'public.totals'::regclass AND e.grantee = '{_READER}'::regrole
UNION ALL SELECT 'sequence ' || e.privilege_type FROM pg_class c, aclexplode(c.relacl) e
 WHERE c.oid = pg_get_serial_sequence('public.totals', 'number')::regclass AND e.grantee = '{_READER}'::regrole
ORDER BY 1"""
_GRANTS = {
    f"GRANT SELECT ON totals TO {_READER}": "table totals SELECT",
    f"GRANT SELECT (mark) ON totals TO {_READER}": "column mark SELECT",
    f"GRANT USAGE ON SEQUENCE totals_number_seq TO {_READER}": "sequence USAGE",
    f"GRANT SELECT ON shown TO {_READER}": "table shown SELECT",
}


@pytest.fixture
def shop(bench: Bench) -> Iterator[Bench]:
    """A live table with a view, and somebody who is given nothing yet."""
    bench.sql(f"DROP ROLE IF EXISTS {_READER}", f"CREATE ROLE {_READER}", *_TOTALS)
    yield bench
    bench.sql(f"DROP OWNED BY {_READER}", f"DROP ROLE {_READER}")


class Giver:
    """Somebody else, who runs one statement in a transaction of his own, and commits it when it is time."""

    def __init__(self, bench: Bench, sql: str) -> None:
        self._bench = bench
        self._connection: Any = psycopg.connect(bench.url)
        self._pid = self._connection.info.backend_pid
        self._is_given, self._is_time = threading.Event(), threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._give, args=(sql,))

    def begin(self) -> None:
        """Have him begin; he has given it then, or waits for a lock."""
        self._thread.start()
        until(lambda: self._is_given.is_set() or self._waits())

    def commit(self) -> None:
        """Have him commit, as soon as he can."""
        self._is_time.set()
        if self._is_given.is_set():
            self._thread.join()

    def commit_when_waited_for(self) -> None:
        """Have him commit as soon as somebody waits for him."""
        waited = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))"

        def watch() -> None:
            until(lambda: self._is_time.is_set() or self._bench.rows(waited, self._pid) == [(True,)])
            self._is_time.set()

        if self._is_given.is_set():
            threading.Thread(target=watch).start()
        else:
            self._is_time.set()

    def close(self) -> None:
        """Wait until he is done. Raises what went wrong."""
        self._is_time.set()
        self._thread.join()
        self._connection.close()
        if self._failures:
            raise self._failures[0]

    def _give(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
            self._is_given.set()
            assert self._is_time.wait(30)
            self._connection.commit()
        except BaseException as failure:  # noqa: BLE001  the test raises it
            self._failures.append(failure)

    def _waits(self) -> bool:
        waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        return self._bench.rows(waits, self._pid) == [(True,)]


def under_locks(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something done once, when the tables are locked and were looked at."""
    read_marks, done = switching_plan.read_marks, list[bool]()

    def late(*arguments: Any) -> str:
        marks = read_marks(*arguments)
        if not done:
            done.append(True)
            act()
        return marks

    monkeypatch.setattr(switching, "read_marks", late)


@pytest.mark.covers("ZDT-11")
@pytest.mark.parametrize("sql", _GRANTS)
@pytest.mark.parametrize("is_waited_for", [False, True])
def test_what_is_given_under_the_locks_is_on_the_new_table(
    shop: Bench, monkeypatch: pytest.MonkeyPatch, sql: str, *, is_waited_for: bool
) -> None:
    """Older servers lock nothing for a GRANT, so it may be committed there while the tables change places."""
    copy = shop.made(projected("totals", marks="new"))
    with contextlib.closing(Giver(shop, sql)) as giver:

        def give() -> None:
            giver.begin()
            if is_waited_for:
                giver.commit_when_waited_for()
            else:
                giver.commit()

        under_locks(monkeypatch, give)
        switched(copy)
    assert [each for [each] in shop.rows(_GIVEN)] == [_GRANTS[sql]]
    assert shop.rows("SELECT customer FROM totals") == []
    monkeypatch.undo()
    switched(copy)
    assert [each for [each] in shop.rows(_GIVEN)] == [_GRANTS[sql]]
    copy.drop()
