"""Operations tell what streams and groups there are, how far behind each group is, and what hangs."""

from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from penstock import App
from penstock.config import load_settings
from penstock.errors import ConfigurationError, UnknownGroupError, UnknownStreamError, UsageError
from penstock.operations import EntryView, Operations
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import NewEntry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.operations.conftest import OrderShipped, Shop


async def test_what_is_registered_and_not_there_yet_is_listed_as_such(shop: Shop) -> None:
    """Before the first event every stream and group of the declarations is shown, with nothing in it."""
    streams = await shop.operations.streams()
    groups = await shop.operations.groups()

    assert [(each.name, each.exists, each.registered, each.length) for each in streams] == [
        ("order.placed", False, True, 0),
        ("order.shipped", False, True, 0),
    ]
    assert [(each.stream, each.name, each.exists, each.lag_entries) for each in groups] == [
        ("order.placed", "billing", False, 0),
        ("order.placed", "mail", False, 0),
        ("order.shipped", "mail", False, 0),
    ]


async def test_a_registered_group_that_is_not_there_yet_lags_by_the_whole_stream(shop: Shop) -> None:
    """A group that will begin at the beginning has everything before it."""
    await shop.place("1", "2", "3")

    [billing, mail] = await shop.operations.groups("order.placed")

    assert (billing.exists, billing.lag_entries) == (False, 3)
    assert (mail.exists, mail.lag_entries) == (False, 3)


async def test_lag_is_told_in_entries_and_seconds(clock: ManualClock) -> None:
    """The gap of a group is the number of entries it was not delivered, and the age of the oldest of them."""
    broker = MemoryBroker(server=MemoryServer(clock))
    await broker.append(NewEntry("s", [b"name", b"s"]))
    await broker.create_group("s", "g", BEGINNING)
    await broker.read_group("g", "ann", ["s"], count=1)
    await clock.advance(timedelta(seconds=10))
    for _ in range(4):
        await broker.append(NewEntry("s", [b"name", b"s"]))
    await clock.advance(timedelta(seconds=5))

    [group] = await Operations({"default": broker}).groups("s")

    assert (group.lag_entries, group.lag_seconds) == (4, 5.0)
    assert (group.pending, group.oldest_pending_seconds, group.consumers) == (1, 15.0, 1)
    assert not group.registered


async def test_a_group_is_shown_with_its_consumers_and_oldest_pending_entries(shop: Shop) -> None:
    """Who holds what, since when, and how often it was delivered."""
    await shop.place("1", "2", "3")
    await shop.broker.create_group("order.placed", "billing", BEGINNING)
    [(_, entries)] = (await shop.broker.read_group("billing", "ann", ["order.placed"], count=2)).batches

    detail = await shop.operations.group("order.placed", "billing")

    assert (detail.group.pending, detail.group.lag_entries, detail.group.registered) == (2, 1, True)
    assert [(each.name, each.pending, each.alive) for each in detail.consumers] == [("ann", 2, True)]
    assert [(each.entry_id, each.consumer, each.delivery_count) for each in detail.oldest_pending] == [
        (EntryId.parse(entry[0]), "ann", 1) for entry in entries
    ]


async def test_a_stream_is_shown_with_groups_cursors_and_failures(shop: Shop) -> None:
    """One look tells what is in a stream and who needs it."""
    await shop.failing("billing.OrderPlaced", "1", "2")
    await shop.broker.save_cursor("order.placed", "audit", b"5-0")

    detail = await shop.operations.stream("order.placed")

    assert (detail.stream.length, detail.stream.groups, detail.stream.failed) == (2, 2, 2)
    assert detail.stream.first is not None
    assert detail.stream.last is not None
    assert detail.stream.first < detail.stream.last
    assert [(group.name, group.failed) for group in detail.groups] == [("billing", 2), ("mail", 0)]
    assert detail.cursors == {"audit": EntryId(5)}


async def test_an_unknown_stream_or_group_is_an_error(shop: Shop) -> None:
    """A name that nobody registered and no server knows is refused, and the error names it."""
    await shop.place("1")
    with pytest.raises(UnknownStreamError, match="oder"):
        await shop.operations.stream("oder.placed")
    with pytest.raises(UnknownStreamError):
        await shop.operations.groups("oder.placed")
    with pytest.raises(UnknownGroupError, match="biling"):
        await shop.operations.group("order.placed", "biling")
    with pytest.raises(UsageError, match="no pool 'nowhere'"):
        await shop.operations.stream("order.placed", pool="nowhere")


@pytest.mark.covers("CONF-1")
async def test_every_answer_names_the_pool() -> None:
    """With several pools each stream, group, server and entry says where it is; the same name may be in both."""
    brokers = {"default": MemoryBroker(), "audit": MemoryBroker()}
    for broker in brokers.values():
        await broker.append(NewEntry("s", [b"name", b"s", b"data", b"1"]))
        await broker.create_group("s", "g", BEGINNING)
    operations = Operations(brokers)

    assert [(each.pool, each.name) for each in await operations.streams()] == [
        ("audit", "s"),
        ("default", "s"),
    ]
    assert [each.pool for each in await operations.groups()] == ["audit", "default"]
    assert [each.pool for each in await operations.servers()] == ["audit", "default"]
    assert [each.pool for each in await operations.streams(pool="audit")] == ["audit"]
    assert (await operations.stream("s", pool="audit")).stream.pool == "audit"
    shown = [view async for view in operations.tail("s", pool="audit", last=5, follow=False)]
    assert [(view.pool, view.payload) for view in shown] == [("audit", 1)]


async def test_a_group_that_the_settings_declare_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings alone tell of streams, groups and listeners, without loading any code."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        code={
            "streams": "memory://",
            "stream": {"a": {"groups": ["g"]}},
            "groups": {"h": {"streams": ["b"]}},
            "listeners": {"c": ["no.such.module:function"]},
        }
    )
    looking = App.of_settings(settings)

    groups = await Operations(looking).groups()
    streams = await Operations(looking).streams()

    assert [(each.stream, each.name) for each in groups] == [("a", "g"), ("b", "h")]
    assert [(each.name, each.exists) for each in streams] == [("a", False), ("b", False), ("c", False)]
    await looking.close()


# -- tail -----------------------------------------------------------------------------------------------------------


async def test_tail_shows_the_last_entries_and_then_what_comes(shop: Shop) -> None:
    """What is there comes first, in order; then every further entry; nothing is acknowledged and no group moves."""
    await shop.place("1", "2", "3")
    seen: list[EntryView] = []
    async with aclosing(shop.operations.tail("order.placed", "order.shipped", last=2)) as views:
        async for view in views:
            seen.append(view)
            if len(seen) == 2:
                await shop.app.emit(OrderShipped(order_id="9"))
            if len(seen) == 3:
                break

    assert [(view.name, view.key) for view in seen] == [
        ("order.placed", "2"),
        ("order.placed", "3"),
        ("order.shipped", "9"),
    ]
    assert seen[0].payload == {"order_id": "2", "total_cents": 100}
    assert not [group for group in await shop.operations.groups() if group.exists]


async def test_tail_from_a_place_ends_when_not_following(shop: Shop) -> None:
    """From the beginning, everything there is, over more than one page."""
    await shop.place(*map(str, range(250)))
    views = shop.operations.tail("order.placed", start=BEGINNING, follow=False)
    assert [view.key async for view in views] == list(map(str, range(250)))


async def test_tail_shows_an_entry_that_is_no_message(shop: Shop) -> None:
    """It says why it cannot be read, and shows the fields as text."""
    await shop.broker.append(NewEntry("odd", [b"colour", b"gr\xffn"]))
    await shop.broker.append(NewEntry("odd", [b"name", b"odd", b"data", b"{no json"]))

    foreign, broken = [view async for view in shop.operations.tail("odd", last=9, follow=False)]

    assert foreign.undecodable is not None
    assert "no field 'name'" in foreign.undecodable
    assert foreign.fields == {"colour": "gr\\xffn"}
    assert (broken.name, broken.payload, broken.fields) == ("odd", None, {"data": "{no json"})
    assert broken.undecodable is not None


async def test_tail_over_two_pools_brings_both() -> None:
    """Streams of different servers are watched side by side."""
    brokers = {"default": MemoryBroker(), "audit": MemoryBroker()}
    await brokers["audit"].append(NewEntry("s", [b"name", b"s"]))
    operations = Operations(brokers)
    both = [
        place for pool in brokers async for place in operations.tail("s", pool=pool, last=3, follow=False)
    ]
    assert [view.pool for view in both] == ["audit"]


# -- status and servers ---------------------------------------------------------------------------------------------


async def test_status_is_everything_in_one_look(shop: Shop) -> None:
    """Servers, streams, groups, workers and failures, from one call."""
    await shop.failing("mail.OrderPlaced", "1")

    status = await shop.operations.status()

    assert [server.pool for server in status.servers] == ["default"]
    assert not status.servers[0].embedded
    assert {stream.name for stream in status.streams} == {"order.placed", "order.shipped"}
    assert {(worker.group, worker.streams) for worker in status.workers} == {
        ("billing", ("order.placed",)),
        ("mail", ("order.placed", "order.shipped")),
    }
    assert (status.failed, status.retrying) == (1, 0)


async def test_without_connecting_only_what_is_registered_is_shown(shop: Shop) -> None:
    """Looking at an app whose server was never used does not start one."""
    idle = Operations(shop.app, connect=False)
    assert [stream.exists for stream in await idle.streams()] == [False, False]
    assert (await idle.status()).servers == ()
    assert (await idle.failed()).items == ()
    with pytest.raises(UnknownStreamError):
        await idle.stream("nothing")


async def test_servers_alone_tell_nothing_of_declarations() -> None:
    """Without an app there are no listeners and settings to be shown; the error says what to give."""
    operations = Operations({"default": MemoryBroker()})
    with pytest.raises(UsageError, match="give Operations the app"):
        await operations.listeners()
    with pytest.raises(UsageError):
        await operations.settings()


async def test_an_app_elsewhere_has_no_embedded_server(shop: Shop) -> None:
    """Asking for the server of our own where there is none is refused."""
    with pytest.raises(ConfigurationError, match="no server of our own"):
        await shop.operations.server_status()


@pytest.mark.covers("LISTEN-17")
async def test_listeners_are_listed_by_event(shop: Shop) -> None:
    """Every event the app knows, with its listeners in the order of declaration."""
    listed = {
        each.event: [(one.group, one.name) for one in each.listeners]
        for each in await shop.operations.listeners()
    }
    assert listed == {
        "order.placed": [("billing", "billing.OrderPlaced"), ("mail", "mail.OrderPlaced")],
        "order.shipped": [("mail", "mail.OrderShipped")],
    }
