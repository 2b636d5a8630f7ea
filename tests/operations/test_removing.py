"""Removing because a person says so: what goes, what stays, who holds it; and that a dry run tells the truth."""

from datetime import timedelta
from typing import Literal

import pytest

from penstock.errors import (
    ConsumerBusyError,
    UnknownGroupError,
    UnknownStreamError,
    UsageError,
)
from penstock.operations import FailedWhich, Purged, RetryOutcome, Work, purge_handled
from penstock.position import BEGINNING, NEW, EntryId
from tests.operations.conftest import OrderPlaced, Shop

STREAM = "order.placed"


async def purged(shop: Shop, *streams: str, **how: object) -> list[Purged]:
    """What a purge did."""
    return [each async for each in shop.operations.purge(streams, **how)]  # type: ignore[arg-type]


@pytest.mark.covers("GC-1", "GC-3")
async def test_a_purge_removes_what_all_have_handled_and_says_who_holds_the_rest(shop: Shop) -> None:
    """Group B is idle: a purge of what A has handled removes nothing, and names B. With force it goes."""
    await shop.place("1", "2", "3")
    await shop.app.run(until_idle=True, only=["billing"])

    [held] = await purged(shop, STREAM)
    assert (held.removed, held.left, [hold.name for hold in held.held_by]) == (0, 3, ["mail"])
    assert [hold.kind for hold in held.held_by] == ["absent group"]

    await shop.work()
    await shop.place("4")
    [done] = await purged(shop, STREAM)
    assert (done.removed, done.left) == (3, 1)
    assert {hold.name for hold in done.held_by} == {"billing", "mail"}

    [forced] = await purged(shop, STREAM, force=True)
    assert (forced.removed, forced.left, forced.held_by) == (1, 0, ())


@pytest.mark.covers("GC-1")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("only", [["billing"], ["billing", "mail"]])
async def test_a_dry_run_tells_what_the_purge_then_does(shop: Shop, force: bool, only: list[str]) -> None:
    """Nothing changes in a dry run, and the purge after it answers the same."""
    await shop.place("1", "2", "3")
    await shop.app.run(until_idle=True, only=only)
    await shop.place("4")
    await shop.broker.save_cursor(STREAM, "audit", (await shop.broker.range(STREAM))[1][0])

    planned = await purged(shop, force=force, dry_run=True)
    assert await shop.broker.length(STREAM) == 4
    assert await purged(shop, force=force) == planned


@pytest.mark.covers("GC-1")
async def test_only_what_is_older_goes(shop: Shop) -> None:
    """With an age, younger entries stay though nobody needs them; streams without entries are not mentioned."""
    for ms in (1000, 2000):
        await shop.app.emit({"order_id": "old"}, name=STREAM, entry_id=EntryId(ms))
    await shop.place("young")
    await shop.work()

    [done] = await purged(shop, older_than=timedelta(days=5))

    assert (done.stream, done.removed, done.left, done.held_by) == (STREAM, 2, 1, ())


@pytest.mark.covers("GC-1")
async def test_a_stream_that_is_not_there_is_an_error_before_anything_goes(shop: Shop) -> None:
    """Named wrongly, nothing is removed anywhere."""
    await shop.place("1")
    await shop.work()

    with pytest.raises(UnknownStreamError):
        await purged(shop, STREAM, "oder.placed")
    assert await shop.broker.length(STREAM) == 1


@pytest.mark.covers("GC-6")
async def test_a_stream_is_trimmed_by_hand(shop: Shop) -> None:
    """To a number of entries or below an id, as far as nobody needs them; a dry run says the same."""
    await shop.place("1", "2", "3", "4")
    await shop.work()
    operations, ids = shop.operations, [EntryId.parse(each[0]) for each in await shop.broker.range(STREAM)]

    planned = await operations.trim(STREAM, keep=3, dry_run=True)
    assert await operations.trim(STREAM, keep=3) == planned
    assert (planned.removed, planned.left) == (1, 3)
    assert (await operations.trim(STREAM, below=ids[2])).removed == 1
    with pytest.raises(UsageError):
        await operations.trim(STREAM, keep=-1, dry_run=True)
    with pytest.raises(UnknownStreamError):
        await operations.trim("oder.placed", keep=1)


async def test_a_deleted_stream_takes_everything_along(shop: Shop) -> None:
    """Entries, groups and failed messages; what that is, is said before and after."""
    await shop.failing("billing.OrderPlaced", "1", "2")

    planned = await shop.operations.delete_stream(STREAM, dry_run=True)
    assert await shop.broker.length(STREAM) == 2
    assert await shop.operations.delete_stream(STREAM) == planned
    assert (planned.entries, planned.groups, planned.failures) == (2, ("billing", "mail"), 2)
    assert not (await shop.operations.failed()).items
    with pytest.raises(UnknownStreamError):
        await shop.operations.delete_stream(STREAM)


# -- groups ---------------------------------------------------------------------------------------------------------


async def test_a_group_that_is_reset_handles_again(shop: Shop) -> None:
    """Sent to the beginning, it handles everything once more; sent to new, it skips what is there."""
    await shop.place("1", "2")
    await shop.work()
    shop.runs.clear()

    planned = await shop.operations.reset_group(STREAM, "billing", BEGINNING, dry_run=True)
    await shop.work()
    assert shop.runs == []
    assert await shop.operations.reset_group(STREAM, "billing", BEGINNING) == planned
    await shop.work()
    assert shop.runs == [("billing.OrderPlaced", "1"), ("billing.OrderPlaced", "2")]

    await shop.place("3")
    await shop.operations.reset_group(STREAM, "billing", NEW)
    await shop.work()
    assert shop.runs[2:] == [("mail.OrderPlaced", "3")]
    with pytest.raises(UnknownGroupError):
        await shop.operations.reset_group(STREAM, "biling", NEW)
    with pytest.raises(UnknownGroupError):
        await shop.operations.reset_group("order.shipped", "billing", NEW)


@pytest.mark.covers("GC-3")
async def test_a_deleted_group_holds_nothing_any_more(shop: Shop) -> None:
    """One that exists, and one that was expected and never came."""
    await shop.place("1")
    await shop.app.run(until_idle=True, only=["billing"])
    operations = shop.operations

    assert await operations.delete_group(STREAM, "mail", dry_run=True) == 0
    assert "mail" in await shop.broker.removal.registered_groups(STREAM)
    assert await operations.delete_group(STREAM, "mail") == 0
    assert await operations.delete_group(STREAM, "billing") == 0
    assert (await shop.broker.removal.floor(STREAM)).holds == ()
    with pytest.raises(UnknownGroupError):
        await operations.delete_group(STREAM, "mail")


async def test_a_group_that_is_worked_is_deleted_by_force_only(shop: Shop) -> None:
    """A worker would make it again: it is named, unless a person insists."""
    await shop.place("1")
    await shop.work()
    [consumer] = await shop.broker.consumers(STREAM, "billing")
    await shop.broker.hold_name(
        "billing", consumer.name, token="t", description="somebody", life=timedelta(minutes=1)
    )

    with pytest.raises(ConsumerBusyError):
        await shop.operations.delete_group(STREAM, "billing")
    assert await shop.operations.delete_group(STREAM, "billing", force=True) == 0


# -- looking --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("OPS-1")
async def test_a_stream_shows_who_needs_what(shop: Shop) -> None:
    """Groups, cursors and expected groups with what they need, the lowest first."""
    await shop.place("1", "2")
    await shop.app.run(until_idle=True, only=["billing"])
    first, last = [each[0] for each in await shop.broker.range(STREAM)]
    await shop.broker.save_cursor(STREAM, "audit", first)
    await shop.broker.removal.register_groups(STREAM, ["stock"])

    detail = await shop.operations.stream(STREAM)

    assert [(hold.kind, hold.name) for hold in detail.held_by] == [
        ("absent group", "mail"),
        ("absent group", "stock"),
        ("cursor", "audit"),
        ("group", "billing"),
    ]
    assert detail.held_by[3].needs == EntryId.parse(last).next()
    absent = {group.name: group for group in detail.groups if not group.exists}
    assert {name: group.lag_entries for name, group in absent.items()} == {"mail": 2, "stock": 2}


@pytest.mark.covers("OPS-2")
async def test_a_group_shows_how_fast_its_listeners_are(shop: Shop) -> None:
    """Runs, failures, percentiles and the rate, told by the worker and seen by anyone."""
    await shop.failing("mail.OrderPlaced", "1", "2", "3")

    detail = await shop.operations.group(STREAM, "mail")

    [speed] = detail.speeds
    assert (speed.listener, speed.runs, speed.failed) == ("mail.OrderPlaced", 3, 3)
    assert 0 < speed.median_seconds <= speed.p95_seconds <= speed.p99_seconds < 10
    assert detail.events_per_second == pytest.approx(3 / 60)
    [speed] = (await shop.operations.group(STREAM, "billing")).speeds
    assert (speed.runs, speed.failed) == (3, 0)


@pytest.mark.covers("OPS-2")
@pytest.mark.parametrize("mode", ["exclusive", "keyed"])
async def test_a_group_with_an_order_shows_how_fast_its_listeners_are(
    shop: Shop, mode: Literal["exclusive", "keyed"]
) -> None:
    """A worker that keeps to an order tells what any other tells: every run, and which of them failed."""
    group = shop.app.registry.groups["billing"]
    group.configure(mode=mode)

    @group.on(OrderPlaced)
    async def odd_ones_fail(event: OrderPlaced) -> None:
        if int(event.order_id) % 2:
            raise ValueError(event.order_id)

    await shop.place("1", "2", "3")
    await shop.work()

    detail = await shop.operations.group(STREAM, "billing")

    assert [(speed.listener, speed.runs, speed.failed) for speed in detail.speeds] == [
        ("billing.OrderPlaced", 3, 0),
        ("odd_ones_fail", 3, 2),
    ]
    for speed in detail.speeds:
        assert 0 < speed.median_seconds <= speed.p95_seconds <= speed.p99_seconds < 10
    assert detail.events_per_second == pytest.approx(3 / 60)


# -- while handling -------------------------------------------------------------------------------------------------


@pytest.mark.covers("GC-2")
async def test_what_was_handled_is_purged_while_listening(shop: Shop) -> None:
    """The group that settles an entry last removes it; what another group still needs, and what failed there, stays."""
    await shop.place("1", "2")
    await Work(shop.app, only=["billing"], until_idle=True, after=purge_handled).run()
    assert await shop.broker.length(STREAM) == 2

    await Work(shop.app, only=["mail"], until_idle=True, after=purge_handled).run()
    assert await shop.broker.length(STREAM) == 0

    shop.broken.add("mail.OrderPlaced")
    await shop.place("3")
    await shop.app.run(until_idle=True, only=["billing"])
    await Work(shop.app, only=["mail"], until_idle=True, after=purge_handled).run()
    shop.broken.clear()
    assert await shop.broker.length(STREAM) == 1


@pytest.mark.covers("FAIL-6")
async def test_a_retry_purges_with_the_last_failure_of_a_message(shop: Shop) -> None:
    """Two groups failed on it: the first retry that succeeds leaves the entry there, the second removes it."""
    shop.broken |= {"billing.OrderPlaced", "mail.OrderPlaced"}
    await shop.place("1", "2")
    await shop.work()
    shop.broken.clear()

    async def retry(group: str) -> set[RetryOutcome]:
        which = FailedWhich(stream=STREAM, group=group)
        return {each.outcome async for each in shop.operations.failed_retry(which, after=purge_handled)}

    assert await retry("billing") == {RetryOutcome.SUCCEEDED}
    assert await shop.broker.length(STREAM) == 2
    shop.broken.add("mail.OrderPlaced")
    assert await retry("mail") == {RetryOutcome.FAILED}
    assert await shop.broker.length(STREAM) == 2
    shop.broken.clear()
    assert await retry("mail") == {RetryOutcome.SUCCEEDED}
    assert await shop.broker.length(STREAM) == 0
