"""The body of a failed message is edited: what fits, what is kept of it, who is in the way; of a parked event, too."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from penstock import App, Message, Retry
from penstock.codec import MESSAGEPACK, TEXT
from penstock.errors import CodecError, UnknownStreamError, UsageError
from penstock.operations import EditOutcome, EditResult, FailedWhich, Operations, ParkedWhich, RetryOutcome
from penstock.streams.abc import NewEntry
from penstock.streams.layouts import LAYOUTS
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.operations.conftest import OrderPlaced, Shop
from tests.operations.deeds import BILLING, ORDERS, edited, record_of, retried


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

    assert [each.outcome for each in await retried(shop, ORDERS)] == [RetryOutcome.SUCCEEDED]
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
    assert [each.outcome for each in await retried(shop, ORDERS)] == [RetryOutcome.SUCCEEDED]
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
