"""A random life of a projection beside a model: events, failures, crashes at any step, overtaking, mending, retries."""

import asyncio
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.errors import StaleRunnerError, StoreUnavailableError
from penstock.projections._engine import _failures, _requests
from penstock.projections._engine._run import ProjectionRun
from penstock.retry import Retry
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Database
from tests.projections.engine.breaking import SteppedConnection, SteppedDatabase
from tests.projections.engine.doubles import Counting, append, applied, make_run, new_event, totals

KEYS = ("a", "b", "c", None)
NOT_AT_ALL = 10_000


class ProjectionLife(RuleBasedStateMachine):
    """Every stored event is in exactly one place: ahead of the checkpoint, applied once, or among the failures."""

    policy: Any = "park"

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._store = SqliteBackend("local", Path(self._folder.name) / "events.db")
        self._loop.run_until_complete(self._store.open())
        self.events: dict[int, str | None] = {}
        self.bad: set[int] = set()
        self._overtaken: ProjectionRun | None = None
        self._life(NOT_AT_ALL, 10)

    def teardown(self) -> None:
        """Close what is open; before that, everything mended gets everything applied."""
        self.bad.clear()
        self.go_on()
        for _ in range(2):
            # An attempt that was counted and cut short was the only one: put aside first, then tried again.
            self._ask(_requests.retry_failures)
            self._life(NOT_AT_ALL, 10)
        assert sorted(applied(self._store.database)) == sorted(self.events)
        self._loop.run_until_complete(self._store.close())
        self._loop.close()
        self._folder.cleanup()

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=12),
        bad=st.sets(st.integers(0, 11), max_size=2),
    )
    def store_events(self, keys: list[str | None], bad: set[int]) -> None:
        """Some of them cannot be handled."""
        placed = self._loop.run_until_complete(append(self._store, *(new_event(key=key) for key in keys)))
        for number, (key, each) in enumerate(zip(keys, placed, strict=True)):
            self.events[each.position] = key
            if number in bad:
                self.bad.add(each.position)

    @rule(page=st.integers(1, 8), step=st.one_of(st.just(NOT_AT_ALL), st.integers(0, 120)))
    def project(self, page: int, step: int) -> None:
        """As far as it goes, or until the connection breaks at a step."""
        self._life(step, page)

    @rule(page=st.integers(1, 8))
    def stand_still(self, page: int) -> None:
        """Begin, and do nothing for so long that others take over."""
        self.go_on()
        run = self._made(self._store.database, page)
        self._run_out()
        run.open()
        self._overtaken = run

    @rule()
    def go_on(self) -> None:
        """Who stood still goes on with what it knew."""
        run, self._overtaken = self._overtaken, None
        if run is not None:
            try:
                run.advance(run.horizon())
            except StaleRunnerError:
                pass
            finally:
                run.close()

    @rule(share=st.integers(0, 3))
    def mend(self, share: int) -> None:
        """Some of what is bad can be handled from now on."""
        self.bad = {each for each in self.bad if each % 4 > share}

    @rule()
    def retry(self) -> None:
        """Everything among the failures is to be tried again."""
        self._ask(_requests.retry_failures)

    @invariant()
    def every_event_is_in_one_place(self) -> None:
        """And what is applied is what is counted."""
        done = applied(self._store.database)
        aside = {each.position: each.state for each in self._failures()}
        position = self._position()
        passed = [each for each in self.events if each <= position]
        assert sorted([*done, *aside]) == sorted(passed)
        counts: dict[str, int] = {}
        for each in done:
            counts[self.events[each] or ""] = counts.get(self.events[each] or "", 0) + 1
        assert totals(self._store.database) == counts

    @invariant()
    def no_event_passes_another_of_its_key_that_waits(self) -> None:
        """Nothing is applied after one that is parked."""
        if self.policy != "park":
            return
        done = set(applied(self._store.database))
        for each in self._failures():
            later = {
                at
                for at, key in self.events.items()
                if key == self.events[each.position] and at > each.position
            }
            assert not later & done

    def _life(self, step: int, page: int) -> None:
        def at_step(number: int, connection: SteppedConnection | None) -> None:
            if number == step:
                if connection is not None:
                    connection.close()
                raise StoreUnavailableError("lost")

        run = self._made(SteppedDatabase(self._store.database, at_step), page)
        self._run_out()
        try:
            run.open()
            run.advance(run.horizon())
        except (StoreUnavailableError, ValueError):
            # The handler's own error comes out where the connection breaks while its fault is looked for.
            pass
        finally:
            run.close()

    def _made(self, database: Database, page: int) -> ProjectionRun:
        def before(event: StoredEvent, _: Connection) -> None:
            if event.position in self.bad:
                raise ValueError("bad")

        return make_run(
            self._store,
            Counting(database, before=before),
            database=database,
            page_events=page,
            on_failure=self.policy,
            retry=Retry(attempts=1, initial="0s", longest="0s"),
            page_time=timedelta(seconds=10),
        )

    def _run_out(self) -> None:
        with closing(self._store.database.connect()) as connection:
            connection.execute("UPDATE penstock_projections SET lease_until = 0")

    def _position(self) -> int:
        with closing(self._store.database.connect()) as connection:
            [[position]] = connection.execute("SELECT position FROM penstock_checkpoints").fetchall()
        return int(position)

    def _failures(self) -> list[Any]:
        with closing(self._store.database.connect()) as connection:
            return list(_failures.listed(self._store.database, connection, name="totals"))

    def _ask(self, what: Any) -> None:
        with closing(self._store.database.connect()) as connection:
            what(self._store.database, connection, "totals")


class SkippingLife(ProjectionLife):
    """The same where what fails is skipped."""

    policy = "skip"


@pytest.mark.covers("PROJ-15", "PROJ-16")
@pytest.mark.parametrize("machine", [ProjectionLife, SkippingLife])
@pytest.mark.timeout(600)
def test_a_random_life_agrees_with_the_model(machine: type[ProjectionLife], torture: bool) -> None:
    """Long lives in the long form."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300 if torture else 15, stateful_step_count=25 if torture else 12, deadline=None
        ),
    )
