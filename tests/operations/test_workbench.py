"""The workbench for failed messages: errors in groups, edits that keep the original, and a log of who did what."""

import pytest

from penstock.errors import UnknownStreamError, UsageError
from penstock.operations import FailedWhich, Operations, RetryOutcome
from penstock.operations._grouping import normalised
from penstock.position import BEGINNING
from penstock.streams.abc import ListenerFailure, NewEntry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.operations.conftest import OrderShipped, Shop
from tests.operations.deeds import BILLING, MAIL, ORDERS, edited, pass_time, retried

# -- errors in groups -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("order 17 of 'Ann' (a1b2)", "order <n> of <text> (<id>)"),
        ("no order 0190f3c0-7b1e-7000-8000-0123456789ab", "no order <id>"),
        ("no order 0190F3C0-7B1E-7000-8000-0123456789AB", "no order <id>"),
        ("can't do it, don't ask", "can't do it, don't ask"),
        ('"é" is not `注`', "<text> is not <text>"),
        ("-1.5, +2 and 3,000.25 cents", "<n>, <n> and <n> cents"),
        ("at 10.0.0.1:6379 after 30ms", "at <n>:<n> after <id>"),
        ("first line 1\nsecond line", "first line <n>"),
        ("  \n", ""),
        ("x" * 5000, "x" * 200),
    ],
)
def test_what_differs_from_case_to_case_is_taken_out(message: str, shown: str) -> None:
    """Numbers, ids and quoted texts; apostrophes are no quotes, and the length is bounded."""
    assert normalised(message) == shown


@pytest.mark.covers("LEAD-7")
async def test_failed_messages_are_grouped_by_their_error(shop: Shop) -> None:
    """By listener and error, the most frequent first, with the times and one to look at."""
    await shop.failing(BILLING, "1", "2", "3")
    await shop.failing(MAIL, "4")
    items = (await shop.operations.failed()).items

    found = await shop.operations.failed_by_error()

    assert [(each.listener, each.error, each.count) for each in found.groups] == [
        (BILLING, "billing.OrderPlaced cannot do <n>", 3),
        (MAIL, "mail.OrderPlaced cannot do <n>", 1),
    ]
    first = found.groups[0]
    assert (first.pool, first.stream, first.group) == ("default", "order.placed", "billing")
    assert first.error_type == "ValueError"
    assert first.first_failed == min(each.first_failed for each in items if each.listener == BILLING)
    assert first.example in {each.entry_id for each in items if each.listener == BILLING}
    assert found.beyond == 0
    narrowed = await shop.operations.failed_by_error(FailedWhich(listener=MAIL))
    assert [each.count for each in narrowed.groups] == [1]


@pytest.mark.covers("LEAD-7")
async def test_ever_so_many_errors_are_counted_and_not_held(clock: ManualClock) -> None:
    """Beyond five hundred groups records are only counted, so that memory is bounded."""
    broker = MemoryBroker(server=MemoryServer(clock))
    for number in range(603):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        failure = ListenerFailure("charge", "error", name, name, "", None)
        await broker.create_group("orders", "billing", BEGINNING)
        entry_id = await broker.append(NewEntry("orders", [b"name", b"x"]))
        await broker.read_group("billing", "ann", ["orders"], count=9)
        await broker.failures.settle("orders", "billing", "ann", entry_id, [b"name", b"x"], [failure])

    found = await Operations({"default": broker}).failed_by_error()

    assert (len(found.groups), found.beyond) == (500, 103)


# -- bulk retry -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-7")
async def test_a_retry_can_stop_at_the_first_that_fails(shop: Shop) -> None:
    """One at a time in the order of failure; what comes after the one that fails is not touched."""
    await shop.failing(BILLING, *map(str, range(30)))

    class FromTheFifthOn:
        def __contains__(self, _: object) -> bool:
            return int(shop.runs[-1][1]) >= 4

    shop.broken = FromTheFifthOn()  # type: ignore[assignment]
    before = (await shop.operations.failed(ORDERS)).items
    results = await retried(shop, ORDERS, stop_on_failure=True)

    assert [each.outcome for each in results] == [RetryOutcome.SUCCEEDED] * 4 + [RetryOutcome.FAILED]
    assert [order for _, order in shop.runs] == [str(number) for number in range(5)]
    after = (await shop.operations.failed(ORDERS)).items
    assert {each.entry_id: each.attempts for each in after} == {
        each.entry_id: 2 if number == 4 else 1 for number, each in enumerate(before) if number >= 4
    }


# -- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-7")
async def test_who_did_what_and_why_is_told_latest_first(shop: Shop) -> None:
    """Edits, retries and flushes with what they were about; what nobody signed is not noted."""
    await shop.failing(BILLING, "1", "2")
    first = (await shop.operations.failed()).items[0]
    one = FailedWhich(entry_id=first.entry_id, group="billing")

    await edited(shop, one, changes={"order_id": "é"})
    await retried(shop, one, who="ben", why="注 is mended")
    assert await shop.operations.failed_flush(FailedWhich(), everything=True, why="enough") == 1
    assert await shop.operations.failed_flush(FailedWhich(), everything=True, who="ben") == 0

    log = await shop.operations.failed_log()
    assert [(each.who, each.what, each.which, each.why, each.count) for each in log] == [
        ("", "flush", "all", "enough", 1),
        ("ben", "retry", f"entry_id {first.entry_id}, group billing", "注 is mended", 1),
        ("ann", "edit", f"entry_id {first.entry_id}, group billing", "a typo", 1),
    ]
    assert {(each.pool, each.stream) for each in log} == {("default", "order.placed")}
    assert await shop.operations.failed_log("order.placed", limit=2) == log[:2]
    with pytest.raises(UnknownStreamError):
        await shop.operations.failed_log("oder.placed")
    with pytest.raises(UsageError, match="at least one"):
        await shop.operations.failed_log(limit=0)


@pytest.mark.covers("LEAD-7")
async def test_the_log_of_all_streams_is_one(shop: Shop) -> None:
    """What was done in turns in two streams is told in the order of time; the limit leaves the oldest out."""
    await shop.app.emit(OrderShipped(order_id="1"))
    await shop.place("1")
    for number in range(3):
        for stream in ("order.placed", "order.shipped"):
            await shop.broker.notes.add(
                stream, who="ann", what="flush", which="", why=f"{stream} {number}", count=1
            )
            await pass_time(shop)

    log = await shop.operations.failed_log(limit=5)

    assert [each.why for each in log] == [
        "order.shipped 2",
        "order.placed 2",
        "order.shipped 1",
        "order.placed 1",
        "order.shipped 0",
    ]
    assert [each.stream for each in log[:2]] == ["order.shipped", "order.placed"]
