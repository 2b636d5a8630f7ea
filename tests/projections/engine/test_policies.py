"""What becomes of an event that fails, by each policy, and of those put aside."""

import asyncio
import logging
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import StoreUnavailableError
from penstock.projections._engine import _failures, _requests, _status
from penstock.projections._engine._run import CaughtUp, Waiting
from penstock.projections.abc import ProjectionFailure, ProjectionStatus
from penstock.retry import GiveUp, Retry
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.projections.engine.doubles import (
    Counting,
    add,
    append,
    applied,
    checkpoint,
    make_run,
    new_event,
    to_the_end,
    totals,
)

SOON = Retry(attempts=3, initial="0s", longest="0s")


class Failing:
    """Fails at some positions for as long as `bad` holds them."""

    def __init__(self, *bad: int, error: type[Exception] = ValueError) -> None:
        self.bad = set(bad)
        self.error = error

    def __call__(self, event: StoredEvent, _: Connection) -> None:
        """Fail, or not."""
        if event.position in self.bad:
            raise self.error(f"no place for {event.position}")


def failures(store: StoreBackend) -> list[ProjectionFailure]:
    """What was put aside."""
    with closing(store.database.connect()) as connection:
        return _failures.listed(store.database, connection, name="totals")


def status(store: StoreBackend) -> ProjectionStatus:
    """How it stands, as people see it."""
    with closing(store.database.connect()) as connection:
        [found] = _status.statuses(store.database, connection, {"local": store.reader})
    return found


def ask(store: StoreBackend, what: Any, *arguments: Any) -> Any:
    """Ask something of it by its tables."""
    with closing(store.database.connect()) as connection:
        return what(store.database, connection, *arguments)


@pytest.mark.covers("PROJ-16", "PROJ-13")
async def test_halt_stands_before_the_event_and_goes_on_when_it_is_mended(store: StoreBackend) -> None:
    """Everything before it is kept; error and position are shown; the next attempt that succeeds goes on by itself."""
    await add(store, 5)
    failing = Failing(4)
    handlers = Counting(store.database, before=failing)
    run = make_run(store, handlers, retry=SOON)
    outcome = await to_the_end(run)
    assert isinstance(outcome, Waiting)
    assert applied(store.database) == [1, 2, 3]
    for _ in range(5):
        await to_the_end(make_run(store, handlers, retry=SOON))
    shown = status(store)
    # Once among the others, and then alone.
    assert (shown.state, shown.position, shown.error_position, shown.attempts) == ("halted", 3, 4, 7)
    assert shown.error == "no place for 4"
    assert (shown.lag_events, shown.head) == (2, 5)
    failing.bad.clear()
    assert await to_the_end(make_run(store, handlers, retry=SOON)) == CaughtUp(5)
    assert applied(store.database) == [1, 2, 3, 4, 5]
    shown = status(store)
    assert (shown.state, shown.error, shown.attempts, shown.lag_events) == ("idle", None, 0, 0)


@pytest.mark.covers("PROJ-16")
async def test_halt_waits_longer_each_time(store: StoreBackend) -> None:
    """A new runner does not try sooner than the last one said."""
    await add(store, 1)
    handlers = Counting(store.database, before=Failing(1))
    how: dict[str, Any] = {"retry": Retry(initial="1h", longest="3h", jitter=0)}
    first = await to_the_end(make_run(store, handlers, **how))
    assert isinstance(first, Waiting)
    assert first.after == timedelta(hours=1)
    calls = len(handlers.calls)
    second = await to_the_end(make_run(store, handlers, **how))
    assert isinstance(second, Waiting)
    assert second.after is not None
    assert timedelta(minutes=59) < second.after <= timedelta(hours=1)
    assert len(handlers.calls) == calls
    assert ask(store, _requests.retry) == ["totals"]
    await to_the_end(make_run(store, handlers, **how))
    assert len(handlers.calls) == calls + 1


@pytest.mark.covers("PROJ-16", "FAIL-12")
async def test_retry_stands_after_its_attempts_until_told_to_go_on(store: StoreBackend) -> None:
    """Then it has all its attempts again; those that did not fail are not touched."""
    await add(store, 2)
    failing = Failing(2)
    handlers = Counting(store.database, before=failing)
    how: dict[str, Any] = {"on_failure": "retry", "retry": SOON}
    for _ in range(2):
        outcome = await to_the_end(make_run(store, handlers, **how))
        assert isinstance(outcome, Waiting)
        assert outcome.after is not None
    assert status(store).state == "failed"
    outcome = await to_the_end(make_run(store, handlers, **how))
    assert isinstance(outcome, Waiting)
    assert outcome.after is None
    calls = len(handlers.calls)
    await to_the_end(make_run(store, handlers, **how))
    assert len(handlers.calls) == calls, "it stands"
    assert status(store).state == "halted"
    failing.bad.clear()
    assert ask(store, _requests.retry) == ["totals"]
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(2)
    assert ask(store, _requests.retry) == [], "nothing failed"


@pytest.mark.covers("PROJ-16")
async def test_skip_puts_the_event_aside_and_it_can_be_tried_again(store: StoreBackend) -> None:
    """Only that one; it is listed with its place and error, and handled later without touching the position."""
    await add(store, 5)
    failing = Failing(2, 4)
    handlers = Counting(store.database, before=failing)
    how: dict[str, Any] = {"on_failure": "skip", "retry": Retry(attempts=1)}
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(5)
    assert applied(store.database) == [1, 3, 5]
    found = failures(store)
    assert [(each.position, each.state, each.message, each.attempts) for each in found] == [
        (2, "failed", "no place for 2", 1),
        (4, "failed", "no place for 4", 1),
    ]
    assert "ValueError" in found[0].traceback
    failing.bad = {4}
    assert ask(store, _requests.retry_failures, "totals") == 2
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(5)
    assert sorted(applied(store.database)) == [1, 2, 3, 5]
    assert [(each.position, each.attempts) for each in failures(store)] == [(4, 2)]
    assert checkpoint(store.database).position == 5


@pytest.mark.covers("PROJ-16")
async def test_park_holds_the_key_and_lets_others_go_on(store: StoreBackend) -> None:
    """Later events of the key wait in order; when the first succeeds again they follow it, and then the key is free."""
    for key in ("a", "b", "a", "b", "a"):
        await append(store, new_event(key=key))
    failing = Failing(1)
    handlers = Counting(store.database, before=failing)
    how: dict[str, Any] = {"on_failure": "park", "retry": Retry(attempts=1)}
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(5)
    assert applied(store.database) == [2, 4]
    assert [(each.position, each.state) for each in failures(store)] == [
        (1, "parked"),
        (3, "waiting"),
        (5, "waiting"),
    ]
    assert status(store).parked == 3
    ask(store, _requests.retry_failures, "totals")
    await to_the_end(make_run(store, handlers, **how))
    assert [(each.position, each.attempts) for each in failures(store)] == [(1, 2), (3, 0), (5, 0)], (
        "still bad"
    )
    failing.bad.clear()
    [first, *_] = failures(store)
    ask(store, _requests.retry_failures, "totals", [first.id])
    await append(store, new_event(key="a"))
    await to_the_end(make_run(store, handlers, **how))
    assert failures(store) == []
    assert [each for each in handlers.calls if each in (1, 3, 5, 6)][-4:] == [1, 3, 5, 6]
    assert totals(store.database) == {"a": 4, "b": 2}


@pytest.mark.covers("PROJ-16")
async def test_a_discarded_parked_event_frees_its_key_at_once(store: StoreBackend) -> None:
    """Also for a runner that has the key in mind."""
    await append(store, new_event(key="a"))
    handlers = Counting(store.database, before=Failing(1))
    run = make_run(store, handlers, on_failure="park", retry=Retry(attempts=1))

    def first() -> None:
        run.open()
        run.advance(run.horizon())

    try:
        await asyncio.to_thread(first)
        [parked] = failures(store)
        assert ask(store, _requests.discard, "totals", [parked.id]) == 1
        await append(store, new_event(key="a"))
        assert await asyncio.to_thread(lambda: run.advance(run.horizon())) == CaughtUp(2)
    finally:
        run.close()
    assert (failures(store), applied(store.database)) == ([], [2])


@pytest.mark.covers("PROJ-16")
@pytest.mark.parametrize("policy", ["retry", "park", "skip"])
@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("page", [1, 10])
async def test_attempts_are_the_number_of_runs_altogether(
    store: StoreBackend, policy: Any, attempts: int, page: int
) -> None:
    """The run in the page in which it failed first is one of them: 1 means never again, as it does for groups."""
    await add(store, 5)
    handlers = Counting(store.database, before=Failing(3))
    retry = Retry(attempts=attempts, initial="0s", longest="0s")
    how: dict[str, Any] = {"on_failure": policy, "retry": retry, "page_events": page}
    for _ in range(attempts + 2):
        await to_the_end(make_run(store, handlers, **how))
    assert handlers.calls.count(3) == attempts
    if policy == "retry":
        assert (status(store).state, status(store).attempts) == ("halted", attempts)
        assert applied(store.database) == [1, 2]
    else:
        assert failures(store)[0].attempts == attempts


@pytest.mark.covers("PROJ-16")
async def test_an_event_that_fails_only_among_others_is_handled_where_it_halts(store: StoreBackend) -> None:
    """It is run alone at once, since the number of attempts has no end there."""
    await add(store, 5)
    handlers = Counting(store.database)

    def before(event: StoredEvent, _: Connection) -> None:
        if event.position == 4 and handlers.calls[-2:-1] == [3]:
            raise ValueError("not after 3")

    handlers.before = before
    how: dict[str, Any] = {"retry": Retry(initial="1h", longest="1h")}
    run = make_run(store, handlers, **how)
    handlers_began = handlers.begin

    def begin(connection: Connection, **said: Any) -> Any:
        handlers.calls.clear()
        return handlers_began(connection, **said)

    handlers.begin = begin  # type: ignore[method-assign]
    assert await to_the_end(run) == CaughtUp(5)
    assert applied(store.database) == [1, 2, 3, 4, 5]


async def test_giving_up_needs_no_further_attempts(store: StoreBackend) -> None:
    """A handler says so by raising GiveUp."""
    await add(store, 2)
    handlers = Counting(store.database, before=Failing(1, error=GiveUp))
    how: dict[str, Any] = {"on_failure": "skip", "retry": SOON}
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(2)
    assert len(failures(store)) == 1


async def test_a_failure_at_the_end_of_a_page_is_traced_to_its_event(store: StoreBackend) -> None:
    """What only the flush finds out is found by halves; all the others are handled."""
    await add(store, 40)
    current: list[int] = []

    def before(event: StoredEvent, _: Connection) -> None:
        current.append(event.position)

    def at_finish() -> None:
        batch = set(current)
        current.clear()
        if 17 in batch:
            raise ValueError("a constraint")

    handlers = Counting(store.database, before=before, at_finish=at_finish)
    how: dict[str, Any] = {"on_failure": "skip", "retry": Retry(attempts=1)}
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(40)
    assert applied(store.database) == [each for each in range(1, 41) if each != 17]
    assert [each.position for each in failures(store)] == [17]


@pytest.mark.parametrize("policy", ["halt", "retry", "park", "skip"])
@pytest.mark.covers("PROJ-16")
async def test_a_database_in_trouble_is_no_fault_of_the_event(store: StoreBackend, policy: Any) -> None:
    """Whatever the policy: it is raised, nothing is put aside, and no attempt is counted."""
    await add(store, 3)
    failing = Failing(2, error=StoreUnavailableError)
    handlers = Counting(store.database, before=failing)
    how: dict[str, Any] = {"on_failure": policy, "retry": Retry(attempts=1)}
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await to_the_end(make_run(store, handlers, **how))
    assert failures(store) == []
    failing.bad.clear()
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(3)
    assert applied(store.database) == [1, 2, 3]


@pytest.mark.covers("FAIL-11")
async def test_each_failure_is_one_structured_record(
    store: StoreBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Operation, projection, stream, event name and id, class and kind of error."""
    [placed] = await append(store, new_event())
    handlers = Counting(store.database, before=Failing(1))
    with caplog.at_level(logging.ERROR, logger="penstock"):
        await to_the_end(make_run(store, handlers, retry=SOON))
    [record] = [each for each in caplog.records if hasattr(each, "projection")]
    facts = vars(record)
    assert {
        name: facts[name] for name in ("operation", "projection", "stream", "event_name", "event_id")
    } == {
        "operation": "consume",
        "projection": "totals",
        "stream": "order-1",
        "event_name": "order.placed",
        "event_id": placed.event_id,
    }
    assert (facts["position"], facts["attempt"]) == (1, 1)
    assert facts["error_class"].endswith("ValueError")
    assert facts["error_type"] == "general_error"
