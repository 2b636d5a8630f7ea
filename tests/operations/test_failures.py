"""Failed messages are listed in pages, run again by whoever has their listener, and forgotten on demand."""

from datetime import timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import UnknownStreamError, UsageError
from penstock.operations import FailedWhich, Operations
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.operations.conftest import OrderShipped, Shop
from tests.operations.deeds import BILLING, EVERYTHING, MAIL, orders, pass_time

# -- listing --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("FAIL-2", "FAIL-1")
async def test_records_of_all_streams_are_listed_by_the_time_of_their_last_failure(shop: Shop) -> None:
    """Two streams, failing in turns: the list merges them, oldest failure first."""
    for number in range(3):
        await shop.failing(BILLING, f"placed-{number}")
        await pass_time(shop)
        shop.broken.add("mail.OrderShipped")
        await shop.app.emit(OrderShipped(order_id=f"shipped-{number}"))
        await shop.work()
        await pass_time(shop)

    page = await shop.operations.failed()

    assert [each.stream for each in page.items] == ["order.placed", "order.shipped"] * 3
    assert page.next is None
    assert [each.last_failed for each in page.items] == sorted(each.last_failed for each in page.items)
    first = page.items[0]
    assert (first.pool, first.group, first.listener, first.state) == ("default", "billing", BILLING, "failed")
    assert (first.error_type, first.error, first.attempts) == (
        "ValueError",
        f"{BILLING} cannot do placed-0",
        1,
    )


@pytest.mark.covers("FAIL-2")
async def test_pages_go_on_where_the_last_one_ended(shop: Shop) -> None:
    """Every record comes once over pages of two, whatever streams they are in."""
    await shop.failing(BILLING, *map(str, range(5)))
    shop.broken.add("mail.OrderShipped")
    await shop.app.emit_many([OrderShipped(order_id=f"s{number}") for number in range(4)])
    await shop.work()

    seen: list[tuple[str, str]] = []
    after: str | None = None
    pages = 0
    while True:
        page = await shop.operations.failed(after=after, limit=2)
        seen += [(each.stream, str(each.entry_id)) for each in page.items]
        pages += 1
        if (after := page.next) is None:
            break

    assert (len(seen), len(set(seen)), pages) == (9, 9, 5)


async def test_a_place_that_no_page_gave_is_refused(shop: Shop) -> None:
    """Anything else than a page's `next` is a usage error, not an empty page."""
    for wrong in ("nonsense", "e30", "W10x", ""):
        with pytest.raises(UsageError, match="not where a page"):
            await shop.operations.failed(after=wrong)
    with pytest.raises(UsageError, match="at least one"):
        await shop.operations.failed(limit=0)


@pytest.mark.covers("FAIL-2")
async def test_filters_narrow_down_together(shop: Shop) -> None:
    """Stream, group, listener, entry, state, error text and time: a record has to match all that are given."""
    await shop.failing(BILLING, "1", "2")
    await shop.failing(MAIL, "3")
    entries = {each.listener: each for each in (await shop.operations.failed()).items}
    mail = entries[MAIL]

    async def found(**which: Any) -> int:
        return len((await shop.operations.failed(FailedWhich(**which))).items)

    assert await found() == 3
    assert await found(group="billing") == 2
    assert await found(listener=MAIL) == 1
    assert await found(group="billing", listener=MAIL) == 0
    assert await found(entry_id=mail.entry_id) == 1
    assert await found(state="failed") == 3
    assert await found(state="retrying") == 0
    assert await found(error="CANNOT DO 2") == 1
    assert await found(error="keyerror") == 0
    assert await found(since=mail.last_failed, listener=MAIL) == 1
    assert await found(until=mail.last_failed - timedelta(days=1)) == 0
    with pytest.raises(UnknownStreamError):
        await found(stream="oder.placed")


async def test_a_record_is_shown_with_traceback_and_payload(shop: Shop) -> None:
    """What failed, where in the code, and with what."""
    await shop.failing(BILLING, "7")

    [detail] = await shop.operations.failed_show(FailedWhich(stream="order.placed"))

    assert "raise ValueError" in detail.traceback
    assert detail.message is not None
    assert (detail.message.key, detail.message.payload) == ("7", {"order_id": "7", "total_cents": 100})


async def test_records_of_a_stream_that_is_gone_are_still_found_by_its_name(clock: ManualClock) -> None:
    """Whoever empties a stream by other means does not hide what failed in it."""
    broker = MemoryBroker(server=MemoryServer(clock))
    shop = Shop(App("shop", broker=broker, clock=clock), broker, clock)
    await shop.failing(BILLING, "1")
    del broker._streams["order.placed"]  # as DEL of another client would

    page = await Operations({"default": broker}).failed(FailedWhich(stream="order.placed"))

    assert len(page.items) == 1
    await shop.app.close()


# -- forgetting -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("FAIL-5")
async def test_flush_forgets_records_and_leaves_streams_alone(shop: Shop) -> None:
    """The count is told; streams, groups and what is pending stay as they were."""
    await shop.failing(BILLING, *map(str, range(120)))
    before = [(each.name, each.length) for each in await shop.operations.streams()]

    assert await shop.operations.failed_flush(EVERYTHING, everything=True) == 120

    assert (await shop.operations.failed()).items == ()
    assert [(each.name, each.length) for each in await shop.operations.streams()] == before
    assert await shop.operations.failed_flush(EVERYTHING, everything=True) == 0


@pytest.mark.covers("FAIL-5")
async def test_flush_takes_the_same_filters(shop: Shop) -> None:
    """Only what matches is forgotten."""
    await shop.failing(BILLING, "1", "2")
    await shop.failing(MAIL, "3")
    plan = await shop.operations.failed_plan(FailedWhich(group="billing"), to_run=False)
    assert [(part.listener, part.count) for part in plan.parts] == [(BILLING, 2)]
    assert await shop.operations.failed_flush(FailedWhich(group="billing")) == 2
    assert await orders(shop) == ["3"]
