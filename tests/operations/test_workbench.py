"""The workbench for failed messages: errors in groups, edits that keep the original, and a log of who did what."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from penstock import App, Message, Retry
from penstock.codec import MESSAGEPACK, TEXT
from penstock.errors import CodecError, UnknownStreamError, UsageError
from penstock.operations import (
    EditOutcome,
    EditResult,
    FailedWhich,
    Operations,
    ParkedWhich,
    RetryOutcome,
    RetryResult,
)
from penstock.operations._grouping import normalised
from penstock.position import BEGINNING
from penstock.streams.abc import FailureRecord, ListenerFailure, NewEntry
from penstock.streams.layouts import LAYOUTS
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.operations.conftest import OrderPlaced, OrderShipped, Shop
from tests.operations.test_failures import pass_time

BILLING = "billing.OrderPlaced"
MAIL = "mail.OrderPlaced"
ORDERS = FailedWhich(stream="order.placed", group="billing")


async def edited(shop: Shop, which: FailedWhich = ORDERS, **how: Any) -> EditResult:
    """Edit as Ann does."""
    return await shop.operations.failed_edit(which, who="ann", why="a typo", **how)


async def retried(shop: Shop, which: FailedWhich = ORDERS, **how: Any) -> list[RetryResult]:
    """Run again what is meant."""
    return [each async for each in shop.operations.failed_retry(which, **how)]


async def record_of(shop: Shop) -> FailureRecord:
    """The one failure record of orders in billing."""
    [found] = await shop.broker.failures.find("order.placed", "billing")
    record = await shop.broker.failures.get(found.key)
    assert record is not None
    return record


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


# -- editing --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-7")
async def test_an_edited_message_is_run_with_its_new_body(shop: Shop) -> None:
    """Its envelope stays, the stream's entry stays, and the original is shown beside the edit."""
    await shop.failing(BILLING, "1")
    [before] = await shop.operations.failed_show(ORDERS)
    assert before.message is not None

    result = await edited(shop, changes={"order_id": "é 注", "total_cents": 250})

    assert result.outcome is EditOutcome.EDITED
    assert result.before == before.message
    [after] = await shop.operations.failed_show(ORDERS)
    assert after.message is not None
    assert after.message == result.after
    assert after.message.payload == {"order_id": "é 注", "total_cents": 250}
    assert after.original == before.message
    for name in ("event_id", "name", "time", "key", "source", "version", "content_type", "headers"):
        assert getattr(after.message, name) == getattr(before.message, name), name
    assert [(edit.who, edit.why) for edit in after.edits] == [("ann", "a typo")]
    [entry] = await shop.broker.range("order.placed")
    assert b'"1"' in (entry[1] or [])[-1]

    assert [each.outcome for each in await retried(shop)] == [RetryOutcome.SUCCEEDED]
    assert shop.runs == [(BILLING, "é 注")]


@pytest.mark.covers("LEAD-7")
async def test_edit_and_retry_in_one_go(shop: Shop) -> None:
    """What became of the run is told; what the body is already is no edit, but can be run."""
    await shop.failing(BILLING, "1")
    shop.broken.add(BILLING)

    failed = await edited(shop, body=b'{"order_id": "2"}', retry=True)
    shop.broken.clear()
    succeeded = await edited(shop, body=b'{"order_id": "2"}', retry=True)

    assert [each.outcome for each in failed.retried] == [RetryOutcome.FAILED]
    assert succeeded.outcome is EditOutcome.UNCHANGED
    assert [each.outcome for each in succeeded.retried] == [RetryOutcome.SUCCEEDED]
    assert shop.runs == [(BILLING, "2")] * 2
    assert (await shop.operations.failed()).items == ()


@pytest.mark.covers("LEAD-7")
async def test_a_dry_run_shows_the_difference_and_who_shares_the_body(shop: Shop) -> None:
    """All listeners of the group that failed on the message are named, and nothing is changed."""
    group = shop.app.registry.groups["billing"]

    async def second(_: OrderPlaced) -> None:
        raise KeyError("no")

    group.on(OrderPlaced, name="second")(second)
    await shop.failing(BILLING, "1")

    result = await edited(shop, FailedWhich(listener="second"), changes={"order_id": "2"}, dry_run=True)

    assert result.outcome is EditOutcome.PLANNED
    assert sorted(each.listener for each in result.failed) == [BILLING, "second"]
    assert result.before is not None
    assert result.after is not None
    assert (result.before.payload["order_id"], result.after.payload["order_id"]) == ("1", "2")
    assert [each.edits for each in await shop.operations.failed_show(FailedWhich())] == [(), ()]
    assert await shop.operations.failed_log() == []


@pytest.mark.covers("LEAD-7")
async def test_a_body_that_does_not_fit_the_event_is_refused(shop: Shop) -> None:
    """The app declares the class: what its listeners could not read is said before anything is changed."""
    await shop.failing(BILLING, "1")
    for body in (b'{"order_id": 7}', b"{}", b"null", b"{", b"\xff"):
        with pytest.raises(CodecError):
            await edited(shop, body=body)
    with pytest.raises(CodecError, match="total_cents"):
        await edited(shop, changes={"total_cents": "much"})
    assert (await record_of(shop)).edits == ()


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"order_id.x": 1}, "inside of a str"),
        ({"order_id.x.y": 1}, "inside of a str"),
        ({}, None),
    ],
)
async def test_a_change_has_to_have_a_place(
    shop: Shop, changes: dict[str, object], wrong: str | None
) -> None:
    """Paths lead through maps and lists; no change at all is none."""
    await shop.failing(BILLING, "1")
    if wrong is None:
        assert (await edited(shop, changes=changes)).outcome is EditOutcome.UNCHANGED
        return
    with pytest.raises(UsageError, match=wrong):
        await edited(shop, changes=changes)


@pytest.mark.parametrize("path", ["lines.2", "lines.-1", "lines.x", "lines.²", "lines.2.n", "lines.0.n.x"])
async def test_a_list_has_the_places_it_has(clock: ManualClock, path: str) -> None:
    """Nothing is put behind its end, and no text is taken for a number."""
    broker = MemoryBroker(server=MemoryServer(clock))
    app = App("shop", broker=broker, clock=clock)
    app.group("billing", retry=Retry(attempts=1), streams=["things"]).on(Any, name="listen")(_fail)
    async with app:
        await app.emit({"lines": [{"n": 1}, {}]}, name="thing", stream="things")
        await app.run(until_idle=True)
        how: dict[str, Any] = {"who": "ann", "why": "", "dry_run": True}
        with pytest.raises(UsageError, match="is not in the body"):
            await Operations(app).failed_edit(FailedWhich(), changes={path: 1}, **how)
        deep = await Operations(app).failed_edit(FailedWhich(), changes={"lines.1.a.b": [1]}, **how)
    assert deep.after is not None
    assert deep.after.payload == {"lines": [{"n": 1}, {"a": {"b": [1]}}]}


async def _fail(_: Message) -> None:
    raise ValueError("no")


async def test_one_message_is_edited_at_a_time(shop: Shop) -> None:
    """Two that match, or the same one in two groups, are named; none is nobody's error."""
    await shop.failing(BILLING, "1", "2")
    with pytest.raises(UsageError, match="narrow it down"):
        await edited(shop, changes={"order_id": "3"})
    with pytest.raises(UsageError, match="either changes or a whole body"):
        await edited(shop)
    with pytest.raises(UsageError, match="1,000"):
        await shop.operations.failed_edit(ORDERS, who="x" * 1001, why="", changes={})
    with pytest.raises(UnknownStreamError):
        await edited(shop, FailedWhich(stream="oder.placed"), changes={})
    nobody = await edited(shop, FailedWhich(listener="nobody"), changes={"order_id": "3"})
    assert nobody == EditResult(EditOutcome.GONE)


@pytest.mark.covers("LEAD-7")
async def test_what_runs_at_this_moment_is_not_edited(shop: Shop) -> None:
    """A retry ends with the payload it began with."""
    await shop.failing(BILLING, "1")
    record = await record_of(shop)
    await shop.broker.failures.claim_retry(
        record.key, token="theirs", visibility=timedelta(minutes=1), max_attempts=9, force=True
    )
    result = await edited(shop, changes={"order_id": "2"}, retry=True)
    assert (result.outcome, result.retried) == (EditOutcome.BUSY, ())
    assert (await record_of(shop)).fields == record.fields
    assert await shop.operations.failed_log() == []


@pytest.mark.covers("LEAD-7")
async def test_of_two_people_the_later_wins_and_both_are_remembered(shop: Shop) -> None:
    """Nobody's edit vanishes without a trace."""
    await shop.failing(BILLING, "1")
    await asyncio.gather(
        *(
            shop.operations.failed_edit(ORDERS, who=who, why="", changes={"order_id": who})
            for who in ("ann", "ben")
        )
    )
    [detail] = await shop.operations.failed_show(ORDERS)
    assert detail.message is not None
    assert {edit.who for edit in detail.edits} == {"ann", "ben"}
    assert detail.message.payload["order_id"] == detail.edits[-1].who


async def test_what_cannot_be_read_needs_a_whole_body_or_is_none(shop: Shop) -> None:
    """A body that is no JSON can be replaced, not changed; an entry that is no message can be neither."""
    shop.broken.add(BILLING)
    await shop.broker.append(NewEntry("order.placed", [b"name", b"order.placed", b"data", b"{oh no"]))
    await shop.work()
    with pytest.raises(UsageError, match="give a whole body"):
        await edited(shop, changes={"order_id": "1"})
    result = await edited(shop, body=b'{"order_id": "1"}')
    assert result.outcome is EditOutcome.EDITED
    assert result.before is not None
    assert result.before.undecodable is not None
    shop.broken.clear()
    shop.runs.clear()
    assert [each.outcome for each in await retried(shop)] == [RetryOutcome.SUCCEEDED]
    assert shop.runs == [(BILLING, "1")]

    await shop.broker.append(NewEntry("order.placed", [b"what", b"\xff"]))
    await shop.work()
    with pytest.raises(UsageError, match="it is no message"):
        await edited(shop, body=b"{}")


@pytest.mark.covers("LEAD-7")
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
async def test_an_edit_keeps_the_layout_of_the_stream(layout: str, clock: ManualClock) -> None:
    """Whatever the other system writes: it is read again with the same envelope, and the body in its own form."""
    broker = MemoryBroker(server=MemoryServer(clock))
    app = App("shop", broker=broker, clock=clock)
    ran: list[Message] = []

    async def listen(message: Message) -> None:
        ran.append(message)
        if message.get("lines.0.count") == 1:
            raise ValueError("one is too few")

    app.stream("things", layout=layout)
    app.group("billing", retry=Retry(attempts=1), streams=["things"]).on(Any, name="listen")(listen)
    async with app:
        body = {"lines": [{"count": 1}], "name": "é 注"}
        await app.emit(body, name="thing", stream="things", key="k", headers={"tenant": "acme"})
        await app.run(until_idle=True)
        operations = Operations(app)
        result = await operations.failed_edit(
            FailedWhich(), who="ann", why="", changes={"lines.0.count": 2, "more.yet": None}, retry=True
        )
    assert [each.outcome for each in result.retried] == [RetryOutcome.SUCCEEDED]
    before, after = ran
    assert after.payload == {"lines": [{"count": 2}], "name": "é 注", "more": {"yet": None}}
    assert (after.id, after.name, after.key, after.content_type) == (
        before.id,
        before.name,
        before.key,
        before.content_type,
    )
    assert (after.headers, after.time, after.source) == (before.headers, before.time, before.source)


@pytest.mark.parametrize(
    ("codec", "event", "body", "payload"),
    [
        (MESSAGEPACK, {"n": 1}, b'{"n": 2}', {"n": 2}),
        (TEXT, "one", "zwei é".encode(), "zwei é"),
    ],
)
async def test_a_body_is_written_as_the_message_has_it(
    clock: ManualClock, codec: Any, event: object, body: bytes, payload: object
) -> None:
    """MessagePack is given as JSON, text as it is."""
    broker = MemoryBroker(server=MemoryServer(clock))
    app = App("shop", broker=broker, clock=clock)

    async def listen(message: Message) -> None:
        raise ValueError("no")

    app.group("billing", retry=Retry(attempts=1), streams=["things"]).on(Any, name="listen")(listen)
    async with app:
        await app.emit(event, name="thing", stream="things", codec=codec)
        await app.run(until_idle=True)
        result = await Operations(app).failed_edit(FailedWhich(), who="ann", why="", body=body)
    assert result.after is not None
    assert (result.after.payload, result.after.content_type) == (payload, codec.content_type)


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
    results = await retried(shop, stop_on_failure=True)

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


# -- parked events --------------------------------------------------------------------------------------------------


@pytest.fixture
async def parked(clock: ManualClock) -> AsyncIterator[tuple[Shop, list[str]]]:
    """A shop whose ordered group has parked order 1, with two more events of its key behind it; what it ran."""
    broker = MemoryBroker(server=MemoryServer(clock))
    shop = Shop(App("shop", broker=broker, clock=clock), broker, clock)
    ran: list[str] = []
    ordered = shop.app.group("ordered", mode="keyed", on_failure="park", retry=Retry(attempts=1))

    async def listen(order: OrderPlaced) -> None:
        ran.append(f"{order.order_id} {order.total_cents}")
        if order.total_cents == 0:
            raise ValueError("nothing to pay")

    ordered.on(OrderPlaced, name="listen")(listen)
    async with shop.app:
        for cents in (0, 10, 20):
            await shop.app.emit(OrderPlaced(order_id="1", total_cents=cents))
        await shop.work()
        yield shop, ran


@pytest.mark.covers("LEAD-7")
async def test_an_edited_parked_event_is_unparked_in_its_place(parked: tuple[Shop, list[str]]) -> None:
    """The one that was wrong is mended, then all of the key are handled in order; who did so is noted."""
    shop, ran = parked
    assert ran == ["1 0"]
    which = FailedWhich(stream="order.placed", group="ordered", listener="listen", state="parked")

    result = await edited(shop, which, changes={"total_cents": 5}, retry=True)

    assert result.outcome is EditOutcome.EDITED
    assert [each.outcome for each in result.retried] == [RetryOutcome.KEPT]
    [asked] = await shop.operations.unpark(ParkedWhich(key="1"), who="ben", why="mended")
    assert asked.events == 3
    busy = await edited(shop, which, changes={"total_cents": 6})
    assert busy.outcome is EditOutcome.BUSY
    await shop.work()
    assert ran == ["1 0", "1 5", "1 10", "1 20"]
    assert (await shop.operations.failed()).items == ()
    log = await shop.operations.failed_log()
    assert [(each.who, each.what, each.count, each.which) for each in log][:1] == [
        ("ben", "unpark", 3, "key 1")
    ]
