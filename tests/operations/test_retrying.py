"""Failed messages are run again by whoever has their listener, each once, and by nobody else meanwhile."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from penstock import GiveUp, LeavePending, Message
from penstock.errors import ConfigurationError, UsageError
from penstock.listeners import Group
from penstock.operations import FailedWhich, Operations, RetryOutcome
from penstock.testing import ManualClock
from tests.operations.conftest import OrderPlaced, Shop
from tests.operations.deeds import BILLING, EVERYTHING, MAIL, orders, retried


@pytest.mark.covers("FAIL-3", "FAIL-4")
async def test_a_retry_runs_only_the_listener_that_failed_and_removes_its_record(shop: Shop) -> None:
    """Success takes the message off the list; the other group's listener does not run again."""
    await shop.failing(BILLING, "1", "2")

    results = await retried(shop)

    assert [each.outcome for each in results] == [RetryOutcome.SUCCEEDED] * 2
    assert sorted(shop.runs) == [(BILLING, "1"), (BILLING, "2")]
    assert (await shop.operations.failed()).items == ()


@pytest.mark.covers("FAIL-4", "FAIL-1")
async def test_failing_again_updates_the_record(shop: Shop) -> None:
    """The counter grows, the first failure stays, the new error is there, and the record is never lost."""
    await shop.failing(BILLING, "1")
    [before] = (await shop.operations.failed()).items
    shop.broken.add(BILLING)

    [result] = await retried(shop)

    [after] = (await shop.operations.failed()).items
    assert result.outcome is RetryOutcome.FAILED
    assert result.error == f"ValueError: {BILLING} cannot do 1"
    assert (before.attempts, after.attempts) == (1, 2)
    assert after.first_failed == before.first_failed
    assert after.state == "failed"


@pytest.mark.covers("FAIL-3")
async def test_a_retry_is_narrowed_down_by_all_that_is_given(shop: Shop) -> None:
    """Entry, stream, receiver and group are joined by AND."""
    await shop.failing(BILLING, "1", "2")
    await shop.failing(MAIL, "3")
    one = (await shop.operations.failed(FailedWhich(listener=BILLING))).items[0]

    assert await retried(shop, FailedWhich(entry_id=one.entry_id, listener=MAIL)) == []
    assert len(await retried(shop, FailedWhich(entry_id=one.entry_id, group="billing"))) == 1
    assert await orders(shop) == ["2", "3"]
    assert len(await retried(shop, FailedWhich(stream="order.placed", listener=MAIL))) == 1
    assert await orders(shop) == ["2"]


@pytest.mark.covers("FAIL-3")
async def test_everything_is_only_meant_when_it_is_said(shop: Shop) -> None:
    """A call that narrows nothing down is refused, so that a forgotten argument runs nothing."""
    await shop.failing(BILLING, "1")
    with pytest.raises(UsageError, match="everything=True"):
        await anext(shop.operations.failed_retry(EVERYTHING))
    with pytest.raises(UsageError, match="everything=True"):
        await shop.operations.failed_flush(EVERYTHING)
    assert await orders(shop) == ["1"]


@pytest.mark.covers("FAIL-3", "FAIL-4")
async def test_a_pass_over_many_records_runs_each_once(shop: Shop) -> None:
    """More than two pages, half of them failing again: those are not met a second time, even if time stands still."""
    count = 230
    await shop.failing(BILLING, *map(str, range(count)))

    class Odd:
        def __contains__(self, _: object) -> bool:
            return int(shop.runs[-1][1]) % 2 == 1

    shop.broken = Odd()  # type: ignore[assignment]
    results = await retried(shop)

    assert sorted(int(order) for _, order in shop.runs) == list(range(count))
    outcomes = [each.outcome for each in results]
    assert outcomes.count(RetryOutcome.SUCCEEDED) == outcomes.count(RetryOutcome.FAILED) == count // 2
    assert len(await orders(shop)) == count // 2


@pytest.mark.covers("FAIL-3")
async def test_a_record_whose_listener_is_not_here_is_kept_and_said_so(shop: Shop) -> None:
    """Another version of the app may have it: nothing is claimed, counted or lost."""
    await shop.failing(BILLING, "1")
    await shop.failing(MAIL, "2")
    shop.app.registry.groups["billing"].remove(BILLING)
    shop.app.registry.groups["billing"].on(OrderPlaced, name="other")(_nothing)

    plan = await shop.operations.failed_plan(EVERYTHING)
    results = await retried(shop)

    assert [(part.listener, part.count, part.missing is None) for part in plan.parts] == [
        (BILLING, 1, False),
        (MAIL, 1, True),
    ]
    assert (plan.total, plan.runnable) == (2, 1)
    assert [each.outcome for each in results] == [RetryOutcome.KEPT, RetryOutcome.SUCCEEDED]
    assert "no listener 'billing.OrderPlaced'" in (results[0].error or "")
    [left] = (await shop.operations.failed()).items
    assert (left.attempts, left.state) == (1, "failed")


async def _nothing(_: OrderPlaced) -> None:
    """A listener that has nothing to do."""


async def test_a_group_that_is_not_here_is_said_so(shop: Shop) -> None:
    """The same for a whole group."""
    await shop.failing(BILLING, "1")
    del shop.app.registry.groups["billing"]
    [result] = await retried(shop)
    assert result.outcome is RetryOutcome.KEPT
    assert "no group 'billing'" in (result.error or "")


async def test_what_another_process_runs_at_this_moment_is_left_to_it(shop: Shop) -> None:
    """A claimed retry has an owner; a person's retry does not take it away."""
    await shop.failing(BILLING, "1")
    [record] = await shop.broker.failures.find("order.placed")
    await shop.broker.failures.claim_retry(
        record.key, token="theirs", visibility=timedelta(minutes=1), max_attempts=9, force=True
    )
    [result] = await retried(shop)
    assert result.outcome is RetryOutcome.BUSY
    assert shop.runs == []


async def test_a_listener_that_asks_for_it_keeps_its_record_as_it_was(shop: Shop) -> None:
    """LeavePending in a retry means: not now, and this run does not count."""
    await shop.failing(BILLING, "1")
    _replace(shop.app.registry.groups["billing"], LeavePending())
    [result] = await retried(shop)
    [record] = (await shop.operations.failed()).items
    assert (result.outcome, record.attempts) == (RetryOutcome.KEPT, 1)


async def test_a_listener_that_gives_up_leaves_a_failed_record(shop: Shop) -> None:
    """GiveUp in a retry is a failure like any other."""
    await shop.failing(BILLING, "1")
    _replace(shop.app.registry.groups["billing"], GiveUp("no use"))
    [result] = await retried(shop)
    [record] = (await shop.operations.failed()).items
    assert (result.outcome, record.state, record.attempts) == (RetryOutcome.FAILED, "failed", 2)


def _replace(group: Group, failure: Exception) -> None:
    group.remove(BILLING)

    async def raising(_: Message) -> None:
        raise failure

    group.on(OrderPlaced, name=BILLING)(raising)


@pytest.mark.covers("FAIL-7")
async def test_a_retry_works_after_the_stream_was_emptied(shop: Shop) -> None:
    """The record has the payload: deleting the entry loses no retry."""
    await shop.failing(BILLING, "1")
    [record] = (await shop.operations.failed()).items
    assert await shop.broker.delete("order.placed", [record.entry_id]) == 1
    [result] = await retried(shop)
    assert (result.outcome, shop.runs) == (RetryOutcome.SUCCEEDED, [(BILLING, "1")])


async def test_a_record_about_a_whole_message_runs_all_listeners(shop: Shop) -> None:
    """What was condemned before any listener ran becomes records of those that fail."""
    group = shop.app.registry.groups["mail"]
    group.on(OrderPlaced, name="second")(_nothing)
    await shop.place("1")
    await shop.broker.create_group("order.placed", "mail", group.settings.start)
    [(_, [[entry_id, fields]])] = (
        await shop.broker.read_group("mail", "ann", ["order.placed"], count=1)
    ).batches
    from penstock.streams.abc import ListenerFailure

    poison = ListenerFailure("*", "poison", "", "it kills", "", None)
    await shop.broker.failures.settle("order.placed", "mail", "ann", entry_id, fields, [poison])
    shop.broken.add(MAIL)

    [result] = await retried(shop, FailedWhich(listener="*"))

    assert result.outcome is RetryOutcome.FAILED
    assert [each.listener for each in (await shop.operations.failed()).items] == [MAIL]


async def test_stopping_in_the_middle_gives_back_what_is_running(shop: Shop) -> None:
    """Whoever interrupts a retry finds the record as it was: due, and the attempt not counted."""
    await shop.failing(BILLING, "1")
    began = asyncio.Event()
    group = shop.app.registry.groups["billing"]
    group.remove(BILLING)

    async def hanging(_: Message) -> None:
        began.set()
        await asyncio.Event().wait()

    group.on(OrderPlaced, name=BILLING)(hanging)
    task = asyncio.create_task(retried(shop))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [record] = (await shop.operations.failed()).items
    assert record.attempts == 1


async def test_a_long_run_keeps_its_claim(shop: Shop) -> None:
    """While the handler runs, the claim is renewed: nobody else takes the record after the visibility time."""
    await shop.failing(BILLING, "1")
    group = shop.app.registry.groups["billing"]
    visibility = timedelta(milliseconds=600)
    group.configure(retry_visibility=visibility)
    group.remove(BILLING)
    taken: list[object] = []

    async def slow(message: Message) -> None:
        [record] = await shop.broker.failures.find("order.placed")
        until = asyncio.get_running_loop().time() + 2 * visibility.total_seconds()
        while asyncio.get_running_loop().time() < until:
            if shop.clock is not None:
                await shop.clock.advance(timedelta(milliseconds=5))
            await asyncio.sleep(0.005)
            claim = await shop.broker.failures.claim_retry(
                record.key, token="other", visibility=timedelta(minutes=1), max_attempts=99
            )
            taken.append(claim)

    group.on(OrderPlaced, name=BILLING)(slow)
    [result] = await retried(shop)
    assert set(taken) == {None}
    assert result.outcome is RetryOutcome.SUCCEEDED


async def test_a_reader_that_leaves_early_ends_the_pass(shop: Shop) -> None:
    """Closing the results stops; what was not run is still on the list."""
    await shop.failing(BILLING, *map(str, range(30)))
    async with aclosing(shop.operations.failed_retry(EVERYTHING, everything=True, concurrency=5)) as results:
        async for _ in results:
            break
    assert len(await orders(shop)) == 25


async def test_retrying_needs_the_app(shop: Shop) -> None:
    """Servers alone have no listeners; the error says so before anything is claimed."""
    await shop.failing(BILLING, "1")
    bare = Operations({"default": shop.broker})
    with pytest.raises(UsageError, match="needs the app"):
        await anext(bare.failed_retry(EVERYTHING, everything=True))
    with pytest.raises(UsageError, match="at least one"):
        await anext(shop.operations.failed_retry(EVERYTHING, everything=True, concurrency=0))


async def test_a_dependency_that_cannot_be_met_is_found_before_anything_runs(shop: Shop) -> None:
    """A wrong declaration is an error of the command, not of every message."""
    await shop.failing(BILLING, "1")
    group = shop.app.registry.groups["billing"]
    group.remove(BILLING)

    async def needy(_: OrderPlaced, gateway: ManualClock) -> None:
        raise AssertionError(gateway)

    group.on(OrderPlaced, name=BILLING)(needy)
    with pytest.raises(ConfigurationError, match="gateway"):
        await retried(shop)
    [record] = (await shop.operations.failed()).items
    assert record.attempts == 1
