"""What cannot work is refused before anything starts; what can, works from an app and its tester."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from penstock import App, Retry
from penstock.errors import ConfigurationError, UsageError
from penstock.operations import Operations, ParkedWhich, Work
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import AppTester, ManualClock
from tests.listeners.ordered.workshop import STREAM, StockMoved

SECOND = timedelta(seconds=1)


@pytest.fixture
async def tester(server: MemoryServer, clock: ManualClock) -> AsyncIterator[AppTester]:
    """An app under test."""
    broker = MemoryBroker(server=server)
    async with AppTester(App("shop"), broker, clock) as made:
        yield made


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ({"on_failure": "park"}, {}, "mode='keyed'"),
        ({"mode": "keyed", "on_failure": "leave_pending"}, {}, "on_failure='retry', 'park' or 'halt'"),
        ({"mode": "exclusive", "unhandled": "leave_pending"}, {}, "unhandled='acknowledge' or 'fail'"),
        ({"mode": "keyed"}, {"batch": 10}, "takes batches"),
        ({"mode": "exclusive"}, {"batch": 10}, "takes batches"),
        ({"mode": "keyed"}, {"acknowledge": "manual"}, "acknowledge='manual'"),
    ],
)
async def test_what_does_not_go_together_is_refused_with_a_remedy(
    tester: AppTester, settings: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    """Before anything is read."""
    group = tester.app.group("stock", **settings)

    async def one(moved: StockMoved) -> None: ...

    async def many(moved: list[StockMoved]) -> None: ...

    group.on(StockMoved, **options)(many if "batch" in options else one)
    with pytest.raises(ConfigurationError, match="group 'stock'") as caught:
        await tester.until_idle()
    assert said in str(caught.value)


async def test_an_ordered_group_takes_no_consumer_name(tester: AppTester) -> None:
    """Its consumers are its streams, whoever works them."""
    _book(tester, [], set(), mode="keyed")
    with pytest.raises(ConfigurationError, match="leave the consumer name out"):
        await Work(tester.app, group="stock", consumer="ann").prepare()


def test_a_mode_that_is_none_is_refused() -> None:
    """With those there are."""
    with pytest.raises(UsageError, match="parallel, exclusive, keyed"):
        App("shop").group("stock", mode="serial")  # type: ignore[arg-type]


@pytest.mark.covers("FAIL-9")
async def test_tries_in_place_go_on_where_the_last_run_ended(tester: AppTester) -> None:
    """`until_idle` leaves what waits for its next run, and the next call after the wait is the next attempt."""
    seen: list[int] = []
    _book(tester, seen, {1}, mode="exclusive", retry=Retry(attempts=3, initial="10s", factor=1, jitter=0))
    await tester.emit(StockMoved(item="nail", number=1))
    for runs in (1, 2, 3):
        await tester.until_idle()
        await tester.until_idle()
        assert seen == [1] * runs
        await tester.advance(10 * SECOND)
    assert [record.state.value for record in await tester.failed()] == ["failed"]
    assert await tester.pending(STREAM, "stock") == 0


@pytest.mark.covers("LEAD-7")
async def test_operations_show_unpark_and_discard(tester: AppTester) -> None:
    """By stream, group and key; everything only when that is said; what is parked belongs to its turn."""
    seen: list[int] = []
    bad = {1, 2}
    _book(tester, seen, bad, mode="keyed", on_failure="park", retry=Retry(attempts=1))
    await tester.emit_many(
        [StockMoved(item=item, number=number) for item, number in [("nail", 1), ("nut", 2)]]
    )
    await tester.until_idle()
    operations = Operations(tester.app)
    assert [(each.key, each.events, each.error) for each in await operations.parked_keys()] == [
        ("nail", 1, "cannot book 1"),
        ("nut", 1, "cannot book 2"),
    ]
    with pytest.raises(UsageError, match="everything=True"):
        await operations.unpark(ParkedWhich())
    assert await operations.unpark(ParkedWhich(key="bolt")) == []
    bad.clear()
    [asked] = await operations.unpark(ParkedWhich(stream=STREAM, group="stock", key="nail"))
    assert (asked.key, asked.unparking) == ("nail", True)
    await tester.until_idle()
    assert seen == [1, 2, 1]
    assert await operations.discard(STREAM, "stock", "nut") == 1
    assert (await operations.parked_keys(), await tester.failed()) == ([], [])


async def test_groups_show_names_who_works_a_stream(tester: AppTester) -> None:
    """With the time that is left to it, and its number."""
    _book(tester, [], set(), mode="keyed")
    await tester.emit(StockMoved(item="nail", number=1))
    await tester.until_idle()
    operations = Operations(tester.app)
    assert (await operations.group(STREAM, "stock")).owner is None
    await tester.broker.leases.acquire(
        "group:stock", token="ann", description="process 7 on ann", life=9 * SECOND, stream=STREAM
    )
    owner = (await operations.group(STREAM, "stock")).owner
    assert owner is not None
    assert (owner.holder, owner.remaining_seconds) == ("process 7 on ann", 9.0)


def _book(tester: AppTester, seen: list[int], bad: set[int], **settings: Any) -> None:
    @tester.app.listener(StockMoved, group=tester.app.group("stock", **settings))
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)
        if moved.number in bad:
            raise ValueError(f"cannot book {moved.number}")
