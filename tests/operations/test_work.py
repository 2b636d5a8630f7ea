"""Running an app for somebody who watches: what runs, how each listener fared, and what happens when he goes away."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, UsageError, WorkerStopped
from penstock.operations import EntryView, HandlerRun, Operations, Work, WorkCounts, declared_event, unheard
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Capabilities
from penstock.streams.memory import MemoryBroker
from tests.operations.conftest import OrderPlaced, Shop


async def test_work_tells_what_runs_and_what_was_done(shop: Shop) -> None:
    """Groups with their streams before the start; every run of a listener meanwhile; the counts afterwards."""
    runs: list[HandlerRun] = []
    await shop.place("1", "2")
    shop.broken.add("mail.OrderPlaced")
    work = Work(shop.app, until_idle=True, on_run=runs.append)

    assert await work.prepare() == {
        "billing": ("order.placed",),
        "mail": ("order.placed", "order.shipped"),
    }
    assert work.is_at_rest
    await work.run()

    assert work.counts == WorkCounts(delivered=4, handled=2, failed=2, retried=0, unhandled=0)
    assert sorted((run.group, run.listener, run.error is None) for run in runs) == [
        *[("billing", "billing.OrderPlaced", True)] * 2,
        *[("mail", "mail.OrderPlaced", False)] * 2,
    ]
    assert all(run.seconds >= 0 and run.stream == run.name == "order.placed" for run in runs)


async def test_a_part_of_an_app_runs_alone(shop: Shop) -> None:
    """One group, or the listeners of one event."""
    await shop.place("1")
    await Work(shop.app, only=["billing"], until_idle=True).run()
    assert {name for name, _ in shop.runs} == {"billing.OrderPlaced"}
    work = Work(shop.app, events=["order.shipped"], until_idle=True)
    assert await work.prepare() == {"mail": ("order.shipped",)}
    with pytest.raises(ConfigurationError, match="no group 'biling'"):
        await Work(shop.app, only=["biling"]).prepare()


async def test_without_groups_listeners_hear_everything_and_nothing_is_acknowledged(shop: Shop) -> None:
    """From the beginning, every listener, no group comes into being."""
    await shop.place("1", "2")
    await Work(shop.app, ungrouped=True, start=BEGINNING, until_idle=True).run()
    assert len(shop.runs) == 4
    assert not [group for group in await shop.operations.groups() if group.exists]


@pytest.mark.covers("LISTEN-6")
async def test_a_group_begins_where_it_is_told_only_if_it_is_new(shop: Shop) -> None:
    """A group that exists has a place of its own, and the error says so before anything runs."""
    await shop.place("1", "2", "3")
    second = [view async for view in shop.operations.tail("order.placed", last=9, follow=False)][1].entry_id
    await Work(shop.app, group="billing", start=second, until_idle=True).run()
    assert shop.runs == [("billing.OrderPlaced", "3")]
    with pytest.raises(UsageError, match="has a place of its own"):
        await Work(shop.app, group="billing", start=EntryId(0), until_idle=True).prepare()


async def test_what_belongs_to_a_group_is_refused_without_one(shop: Shop) -> None:
    """A consumer name means nothing to a listener without a group."""
    with pytest.raises(UsageError, match="belong to a group"):
        Work(shop.app, ungrouped=True, consumer="ann")


@pytest.mark.covers("LISTEN-10")
async def test_stopping_drains(shop: Shop) -> None:
    """`stop` lets what was begun finish, and `run` returns."""
    began, finish = asyncio.Event(), asyncio.Event()

    async def slow(order: OrderPlaced) -> None:
        began.set()
        await finish.wait()

    shop.app.group("slow").on(OrderPlaced)(slow)
    await shop.place("1")
    work = Work(shop.app, only=["slow"])
    task = asyncio.create_task(work.run())
    await began.wait()
    assert not work.is_at_rest
    work.stop()
    finish.set()
    await task
    assert work.is_at_rest
    assert (await shop.broker.pending_summary("order.placed", "slow")).count == 0


@pytest.mark.covers("LISTEN-9")
async def test_work_is_taken_up_again_as_often_as_it_is_told(shop: Shop) -> None:
    """A group that halts ends the run; with attempts it is begun again, and the last error is raised at the end."""

    async def halting(order: OrderPlaced) -> None:
        runs.append(order.order_id)
        raise ValueError(order.order_id)

    runs: list[str] = []
    shop.app.group("halting", on_failure="halt").on(OrderPlaced)(halting)
    await shop.place("1")
    work = Work(shop.app, only=["halting"], attempts=2)
    task = asyncio.create_task(work.run())
    while not task.done():
        if shop.clock is not None:
            await shop.clock.advance(timedelta(milliseconds=100))
        await asyncio.sleep(0.001)
    with pytest.raises(WorkerStopped):
        await task
    assert len(runs) == 3


async def test_an_observer_that_goes_away_ends_the_work_and_fails_no_listener(shop: Shop) -> None:
    """A closed terminal is not the listener's fault: its message is handled, and the rest is left as it was."""

    def gone(_: HandlerRun) -> None:
        raise BrokenPipeError

    await shop.place(*map(str, range(100)))
    work = Work(shop.app, only=["billing"], on_run=gone)
    with pytest.raises(BrokenPipeError):
        await work.run()
    assert (await shop.operations.failed()).items == ()
    summary = await shop.broker.pending_summary("order.placed", "billing")
    [group] = [each for each in await shop.operations.groups("order.placed") if each.name == "billing"]
    assert summary.count + group.lag_entries + len(shop.runs) == 100


async def showing(broker: Any, streams: Sequence[str], show: Any, group: str | None = None) -> None:
    """Show what is in some streams, and end."""
    app = App("tool", broker=broker)
    start = BEGINNING if group is None else None
    await Work.showing(app, streams, show, group=group, start=start, until_idle=True).run()
    await app.close()


async def test_messages_are_shown_without_an_app(shop: Shop) -> None:
    """As somebody without a group each time, as a member of a group once."""
    seen: list[EntryView] = []
    await shop.place("1", "2")
    for group in (None, None, "tool", "tool"):
        await showing(shop.broker, ["order.placed"], seen.append, group)
    assert [view.key for view in seen] == ["1", "2"] * 3


async def test_a_message_that_could_not_be_shown_is_not_acknowledged(shop: Shop) -> None:
    """It stays pending for the next one who looks, and is no failure."""

    def gone(_: EntryView) -> None:
        raise BrokenPipeError

    await shop.place("1")
    with pytest.raises(BrokenPipeError):
        await showing(shop.broker, ["order.placed"], gone, "tool")
    assert (await shop.broker.pending_summary("order.placed", "tool")).count == 1
    assert (await shop.operations.failed()).items == ()


async def test_events_without_listeners_are_found_out(shop: Shop) -> None:
    """By name or stream, for the app and for one of its groups."""
    events = ["order.placed", "order.shipped", "order.lost"]
    assert unheard(shop.app, events) == ["order.lost"]
    assert unheard(shop.app, events, group="billing") == ["order.shipped", "order.lost"]
    declared = declared_event(shop.app, "order.placed")
    assert declared is not None
    assert declared.cls is OrderPlaced
    assert declared_event(shop.app, "order.lost") is None


async def test_a_server_that_may_evict_is_a_problem() -> None:
    """At its memory limit it would delete streams; one that keeps them, or does not tell, is none."""

    class Evicting(MemoryBroker):
        policy: str | None = "allkeys-lru"

        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, maxmemory_policy=self.policy)

    broker = Evicting()
    operations = Operations({"default": MemoryBroker(), "other": broker})
    [problem] = await operations.eviction_problems()
    assert "pool 'other'" in problem
    assert "allkeys-lru" in problem
    assert await operations.eviction_problems(["default"]) == []
    broker.policy = None
    assert await operations.eviction_problems() == []
