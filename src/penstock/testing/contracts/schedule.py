"""`ScheduleStoreContract`: entries that wait for their time, and the ticks of what recurs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.errors import StreamFullError, UsageError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Cap, Dedupe, DelayedEntry, Index, StreamBroker, Tick
from penstock.testing.contracts._common import NAMES, Contract, PassTime, add, entry

__all__ = ["ScheduleStoreContract"]

_SOON = timedelta(milliseconds=40)
_LATE = timedelta(days=1)
_RULE = "every 5 minutes"


async def _in(broker: StreamBroker, wait: timedelta) -> datetime:
    now = datetime.fromtimestamp(await broker.server_time_us() // 1000 / 1000, UTC)
    return now + wait


async def _schedule(
    broker: StreamBroker, event_id: str, wait: timedelta = _LATE, *, stream: str = "orders", **how: Any
) -> datetime:
    due = await _in(broker, wait)
    return await broker.schedule.schedule(entry(stream, b"n", event_id.encode(), **how), event_id, due=due)


async def _numbers(broker: StreamBroker, stream: str = "orders") -> list[bytes]:
    return [one[1][1] for one in await broker.range(stream)]


def _tick(at: datetime, *, every: timedelta = timedelta(minutes=5)) -> Tick:
    return Tick(at, at + every, _RULE)


class ScheduleStoreContract(Contract):
    """What every schedule guarantees. Inherit it and supply ``broker``: open, on an empty namespace."""

    # -- entries that wait --------------------------------------------------------------------------------------

    @pytest.mark.covers("DELAY-1")
    @pytest.mark.parametrize("stream", NAMES)
    async def test_an_entry_enters_its_stream_at_its_time(
        self, broker: StreamBroker, pass_time: PassTime, stream: str
    ) -> None:
        """Not before, then once, with its fields; until then the stream does not even exist."""
        await _schedule(broker, "late", _LATE, stream=stream)
        early = await broker.schedule.move_due()
        assert early.entry_ids == ()
        assert early.wait is not None
        assert _LATE - timedelta(minutes=1) < early.wait <= _LATE + timedelta(milliseconds=1)
        assert await broker.streams() == []

        await _schedule(broker, "e-1", _SOON, stream=stream)
        await pass_time(_SOON)
        moved = await broker.schedule.move_due()

        [(where, entry_id)] = moved.entry_ids
        assert where == stream
        assert moved.wait is not None
        assert await broker.range(stream) == [[entry_id, [b"n", b"e-1"]]]
        assert await broker.streams() == [stream]
        assert (await broker.schedule.move_due()).entry_ids == ()

    @pytest.mark.covers("DELAY-1")
    async def test_what_is_due_is_added_by_due_time(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """Not by when it was scheduled; what is due at the same time, by event id."""
        due = await _in(broker, _SOON)
        for event_id in ("e-3", "e-1", "e-2"):
            await broker.schedule.schedule(entry("orders", b"n", event_id.encode()), event_id, due=due)
        await _schedule(broker, "first", timedelta(0))
        await pass_time(_SOON)
        await broker.schedule.move_due()

        assert await _numbers(broker) == [b"first", b"e-1", b"e-2", b"e-3"]

    async def test_much_that_is_due_is_added_in_steps(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Each call is bounded, and says that there is more at once; other streams have their turn."""
        for number in range(7):
            await _schedule(broker, f"e-{number}", timedelta(0))
        await _schedule(broker, "other", timedelta(0), stream="invoices")
        await pass_time(timedelta(milliseconds=5))

        first = await broker.schedule.move_due(count=5)
        assert len(first.entry_ids) == 6
        assert first.wait == timedelta(0)
        second = await broker.schedule.move_due(count=5)
        assert (len(second.entry_ids), second.wait) == (2, None)
        assert await _numbers(broker) == [b"e-%d" % number for number in range(7)]

    @pytest.mark.covers("DELAY-2")
    async def test_what_waits_is_listed(self, broker: StreamBroker) -> None:
        """By due time and event id, in pages, with fields; each stream its own."""
        due = [await _schedule(broker, f"e-{number}", _LATE * (5 - number)) for number in range(5)]
        await _schedule(broker, "x", stream="invoices")

        everything = await broker.schedule.delayed("orders")
        assert [waiting.event_id for waiting in everything] == [f"e-{number}" for number in (4, 3, 2, 1, 0)]
        assert everything[0] == DelayedEntry("orders", "e-4", due[4], entry("orders", b"n", b"e-4"))
        page = await broker.schedule.delayed("orders", count=2)
        rest = await broker.schedule.delayed("orders", after=page[-1])
        assert page + rest == everything
        assert await broker.schedule.streams() == ["invoices", "orders"]
        assert await broker.schedule.delayed("nowhere") == []

    async def test_pages_of_what_is_due_at_one_time(self, broker: StreamBroker) -> None:
        """However much of it there is."""
        due = await _in(broker, _LATE)
        for number in range(450):
            await broker.schedule.schedule(entry("orders"), f"e-{number:03}", due=due)

        found: list[DelayedEntry] = []
        while page := await broker.schedule.delayed("orders", after=found[-1] if found else None, count=90):
            found += page
        assert [waiting.event_id for waiting in found] == [f"e-{number:03}" for number in range(450)]

    @pytest.mark.covers("DELAY-2")
    async def test_a_cancelled_entry_is_never_added(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """Cancelling says whether it waited; the others come."""
        await _schedule(broker, "e-1", _SOON)
        await _schedule(broker, "e-2", _SOON)
        assert await broker.schedule.cancel("orders", "e-1") is True
        assert await broker.schedule.cancel("orders", "e-1") is False
        assert await broker.schedule.cancel("nowhere", "e-2") is False
        await pass_time(_SOON)
        await broker.schedule.move_due()

        assert await _numbers(broker) == [b"e-2"]
        assert await broker.schedule.cancel("orders", "e-2") is False

    @pytest.mark.covers("DELAY-2")
    async def test_an_entry_is_either_cancelled_or_added(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Never both and never neither, when both are tried at once by several."""
        names = [f"e-{number:02}" for number in range(40)]
        for name in names:
            await _schedule(broker, name, timedelta(0))
        await pass_time(timedelta(milliseconds=5))

        answers = await asyncio.gather(
            *(broker.schedule.move_due(count=3) for _ in range(8)),
            *(broker.schedule.cancel("orders", name) for name in names),
            *(broker.schedule.move_due(count=3) for _ in range(8)),
        )
        while (await broker.schedule.move_due()).entry_ids:
            pass

        cancelled = {name for name, done in zip(names, answers[8:48], strict=True) if done is True}
        added = [number.decode() for number in await _numbers(broker)]
        assert sorted([*cancelled, *added]) == names

    @pytest.mark.covers("DELAY-1")
    async def test_several_movers_add_each_entry_once(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """However many move at the same time."""
        for number in range(50):
            await _schedule(broker, f"e-{number:02}", timedelta(0), stream=f"s{number % 3}")
        await pass_time(timedelta(milliseconds=5))

        await asyncio.gather(*(broker.schedule.move_due(count=4) for _ in range(30)))

        added = [number for stream in ("s0", "s1", "s2") for number in await _numbers(broker, stream)]
        assert sorted(added) == [b"e-%02d" % number for number in range(50)]

    async def test_what_waits_is_told_and_replaced_as_it_was_given(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """With its cap and its history; what is not there (any more) is not made."""
        whole = entry("orders", cap=Cap(7, timedelta(days=3), remove_needed=True), index=Index("a:b", "{c}"))
        assert await broker.schedule.replace(whole, "e-1") is False
        await _schedule(broker, "e-1", _SOON)
        assert await broker.schedule.replace(whole, "e-1") is True
        [waiting] = await broker.schedule.delayed("orders")
        assert waiting.entry == whole

        await pass_time(_SOON)
        assert len((await broker.schedule.move_due()).entry_ids) == 1
        assert await broker.history.length("orders", "a:b", "{c}") == 1
        assert await broker.schedule.replace(whole, "e-1") is False

    async def test_an_event_waits_once(self, broker: StreamBroker) -> None:
        """A second call answers with the time of the first and changes nothing."""
        first = await _schedule(broker, "e-1", _LATE)
        assert await _schedule(broker, "e-1", _LATE * 2) == first
        assert len(await broker.schedule.delayed("orders")) == 1

    async def test_a_time_that_has_passed_is_now(self, broker: StreamBroker) -> None:
        """So is one before 1970."""
        await _schedule(broker, "e-1", -_LATE)
        await broker.schedule.schedule(entry("orders"), "e-2", due=datetime(1960, 1, 1, tzinfo=UTC))
        assert await broker.schedule.next_due() == timedelta(0)
        assert len((await broker.schedule.move_due()).entry_ids) == 2

    async def test_the_next_due_time_is_the_earliest_of_all_streams(self, broker: StreamBroker) -> None:
        """It is ``None`` when nothing waits, and never later than what was scheduled last."""
        assert await broker.schedule.next_due() is None
        await _schedule(broker, "e-1", _LATE)
        await _schedule(broker, "e-2", timedelta(hours=1), stream="invoices")
        wait = await broker.schedule.next_due()
        assert wait is not None
        assert timedelta(minutes=59) < wait <= timedelta(hours=1, milliseconds=1)
        await broker.schedule.check()
        assert len(await broker.schedule.streams()) == 2

    async def test_what_cannot_be_added_later_is_refused(self, broker: StreamBroker) -> None:
        """At once, when somebody is there to be told."""
        due = await _in(broker, _LATE)
        for wrong in (entry("orders", entry_id=EntryId(1)), entry("orders", dedupe=Dedupe("t"))):
            with pytest.raises(UsageError, match="leave id and dedupe out"):
                await broker.schedule.schedule(wrong, "e-1", due=due)
        with pytest.raises(UsageError, match="empty"):
            await broker.schedule.schedule(entry("orders"), "", due=due)
        with pytest.raises(UsageError, match="pairs"):
            await broker.schedule.schedule(entry("orders", b"odd"), "e-1", due=due)
        with pytest.raises(UsageError, match="time zone"):
            await broker.schedule.schedule(entry("orders"), "e-1", due=due.replace(tzinfo=None))
        with pytest.raises(UsageError, match="needs a name"):
            await broker.schedule.schedule(entry(""), "e-1", due=due)
        assert await broker.schedule.next_due() is None

    @pytest.mark.covers("DELAY-1", "HIST-1")
    async def test_a_delayed_entry_has_its_place_in_the_history(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """From the moment it is in the stream, and not before."""
        index = Index("order.placed", "o:1")
        await _schedule(broker, "e-1", _SOON, index=index)
        assert await broker.history.length("orders", "order.placed", "o:1") == 0
        await pass_time(_SOON)
        [(_, entry_id)] = (await broker.schedule.move_due()).entry_ids

        page = await broker.history.page("orders", "order.placed", "o:1")
        assert [chapter.entry for chapter in page.chapters] == [[entry_id, [b"n", b"e-1"]]]

    @pytest.mark.covers("DELAY-1")
    async def test_a_delayed_entry_obeys_the_cap(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """It removes what may go; while all is needed it goes on waiting, and other streams are served."""
        await add(broker, "orders", 3)
        await broker.create_group("orders", "billing", BEGINNING)
        await _schedule(broker, "e-1", timedelta(0), cap=Cap(3))
        await _schedule(broker, "e-2", timedelta(0), stream="invoices")
        await pass_time(timedelta(milliseconds=5))

        held = await broker.schedule.move_due()
        assert held.full == ("orders",)
        assert [stream for stream, _ in held.entry_ids] == ["invoices"]
        assert held.wait is not None
        assert held.wait > timedelta(milliseconds=100)
        assert len(await broker.schedule.delayed("orders")) == 1

        await broker.delete_group("orders", "billing")
        await pass_time(timedelta(seconds=1))
        moved = await broker.schedule.move_due()
        assert [stream for stream, _ in moved.entry_ids] == ["orders"]
        assert await _numbers(broker) == [b"1", b"2", b"e-1"]

    async def test_a_deleted_stream_takes_along_what_waits_for_it(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Neither what waits nor what recurred is left."""
        await add(broker, "orders", 1)
        await _schedule(broker, "e-1", _SOON)
        at = await _in(broker, timedelta(0))
        await broker.schedule.tick("orders", "report", expected=None, tick=_tick(at), entries=())
        await broker.delete_stream("orders")
        await pass_time(_SOON)

        assert (await broker.schedule.move_due()).entry_ids == ()
        assert await broker.schedule.delayed("orders") == []
        assert await broker.schedule.ticks("orders") == {}
        assert await broker.streams() == []

    # -- what recurs --------------------------------------------------------------------------------------------

    @pytest.mark.covers("RECUR-1")
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_tick_adds_its_entries_and_is_recorded(self, broker: StreamBroker, name: str) -> None:
        """In one step, if the last tick is the one that was seen."""
        at = await _in(broker, timedelta(0))
        assert await broker.schedule.ticks(name) == {}
        assert await broker.schedule.tick(name, name, expected=None, tick=_tick(at), entries=()) == []
        assert await broker.streams() == []

        later = _tick(at + timedelta(minutes=5))
        entries = [entry(name, b"n", b"1"), entry(name, b"n", b"2", index=Index("a", "b"))]
        added = await broker.schedule.tick(name, name, expected=at, tick=later, entries=entries)

        assert added is not None
        assert await broker.range(name) == [[added[0], [b"n", b"1"]], [added[1], [b"n", b"2"]]]
        assert await broker.history.length(name, "a", "b") == 1
        assert await broker.schedule.ticks(name) == {name: later}
        assert await broker.schedule.streams() == [name]
        assert await broker.streams() == [name]

    @pytest.mark.covers("RECUR-1")
    async def test_of_many_at_one_tick_one_adds(self, broker: StreamBroker) -> None:
        """The others are told so, and change nothing."""
        at = await _in(broker, timedelta(0))
        answers = await asyncio.gather(
            *(
                broker.schedule.tick(
                    "orders", "report", expected=None, tick=_tick(at), entries=[entry("orders")]
                )
                for _ in range(20)
            )
        )

        assert len([added for added in answers if added is not None]) == 1
        assert await broker.length("orders") == 1
        assert (
            await broker.schedule.tick(
                "orders", "report", expected=None, tick=_tick(at), entries=[entry("orders")]
            )
            is None
        )

    async def test_what_recurs_is_told_apart_by_name_and_stream(self, broker: StreamBroker) -> None:
        """And can be forgotten."""
        at = await _in(broker, timedelta(0))
        last = Tick(at, None, "once in a while")
        for stream, name in (("orders", "a"), ("orders", "b"), ("invoices", "a")):
            await broker.schedule.tick(stream, name, expected=None, tick=last, entries=())

        assert await broker.schedule.forget_tick("orders", "a") is True
        assert await broker.schedule.forget_tick("orders", "a") is False
        assert await broker.schedule.ticks("orders") == {"b": last}
        assert await broker.schedule.ticks("invoices") == {"a": last}

    async def test_a_tick_that_the_cap_refuses_is_not_recorded(self, broker: StreamBroker) -> None:
        """Nor is a part of its entries added; a cap that leaves room makes it for all of them."""
        at = await _in(broker, timedelta(0))
        await add(broker, "orders", 3)
        await broker.create_group("orders", "billing", BEGINNING)
        entries = [entry("orders", b"n", b"x", cap=Cap(4)), entry("orders", b"n", b"y", cap=Cap(4))]

        with pytest.raises(StreamFullError):
            await broker.schedule.tick("orders", "report", expected=None, tick=_tick(at), entries=entries)
        assert await broker.length("orders") == 3
        assert await broker.schedule.ticks("orders") == {}

        await broker.delete_group("orders", "billing")
        assert await broker.schedule.tick("orders", "report", expected=None, tick=_tick(at), entries=entries)
        assert await _numbers(broker) == [b"1", b"2", b"x", b"y"]

    async def test_a_tick_has_entries_of_its_stream(self, broker: StreamBroker) -> None:
        """No more than the cap admits, and none with an id; nothing is changed by what is refused."""
        at = await _in(broker, timedelta(0))
        for wrong in (
            [entry("invoices")],
            [entry("orders", entry_id=EntryId(1))],
            [entry("orders", cap=Cap(1))] * 2,
        ):
            with pytest.raises(UsageError):
                await broker.schedule.tick("orders", "report", expected=None, tick=_tick(at), entries=wrong)
        naive = _tick(at.replace(tzinfo=None))
        with pytest.raises(UsageError, match="time zone"):
            await broker.schedule.tick("orders", "report", expected=None, tick=naive, entries=())
        assert await broker.schedule.ticks("orders") == {}
        assert await broker.streams() == []
