"""Relays from a stream into a store: in the order of the stream, once per event id, the place with the events."""

import pytest

from penstock.archive import Archiver
from penstock.archive.memory import MemoryArchive
from penstock.message import Meta
from penstock.relays.abc import RelayPlan
from penstock.store.abc import EventFilter, StoreBackend, StoredEvent
from penstock.streams.abc import HoldKind, NewEntry, StreamBroker
from penstock.streams.layouts import NATIVE
from tests.relays.conftest import Relaying

KEEP = RelayPlan("keep", source="stream:orders", target="local")


async def emit(broker: StreamBroker, number: int, **how: object) -> bytes:
    """Put an event into the stream; its entry id."""
    meta = Meta(time=1, key=str(number % 3), **how)  # type: ignore[arg-type]
    return await broker.append(
        NewEntry("orders", NATIVE.pack(f"event {number}", "order.placed", meta, b"%d" % number))
    )


async def events_of(store: StoreBackend) -> list[StoredEvent]:
    """All events of a store."""
    return list((await store.read(EventFilter(), limit=10_000)).events)


async def test_entries_become_events_in_order(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Each in the event stream of its category and key, envelope and body as they were."""
    for number in range(10):
        await emit(broker, number, source="shop", causation="x")
    await relaying.finish(KEEP)
    for number in range(10, 150):
        await emit(broker, number)
    await relaying.finish(KEEP)

    stored = await events_of(local)
    assert [event.id for event in stored] == [f"event {number}" for number in range(150)]
    assert (stored[4].stream, stored[4].name, stored[4].data) == ("order-1", "order.placed", b"4")
    assert stored[4].meta == Meta(time=1, key="1", source="shop", causation="x")


async def test_reading_again_stores_nothing_twice(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Neither from the beginning, nor what was emitted twice under one id."""
    for number in (1, 2, 2, 1, 3):
        await emit(broker, number)
    await relaying.finish(KEEP)
    connection = local.database.connect()
    local.database.execute(connection, "UPDATE penstock_checkpoints SET position = 0")
    connection.close()
    await relaying.finish(KEEP)

    assert [event.data for event in await events_of(local)] == [b"1", b"2", b"3"]


async def test_what_cannot_be_read_is_a_failure_and_blocks_nothing(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """It is recorded with its place and reason; what comes after it is stored."""
    await emit(broker, 1)
    await broker.append(NewEntry("orders", [b"nonsense", b"1"]))
    await emit(broker, 2)
    await relaying.finish(KEEP)

    assert [event.data for event in await events_of(local)] == [b"1", b"2"]
    connection = local.database.connect()
    [(stream, state, message)] = local.database.execute(
        connection, "SELECT stream, state, message FROM penstock_projection_failures"
    ).fetchall()
    connection.close()
    assert (stream, state) == ("orders", "failed")
    assert "no field 'name'" in message


async def test_the_stream_keeps_what_is_not_stored_yet(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Trimming ends below the relay's place; what is stored may go."""
    first = await emit(broker, 1)
    await relaying.finish(KEEP)
    await emit(broker, 2)
    [hold] = (await broker.removal.floor("orders")).holds

    assert (hold.kind, hold.name, bytes(hold.needs) > first) == (HoldKind.RELAY, "keep", True)
    assert (await broker.removal.trim("orders")).removed == 1
    await relaying.finish(KEEP)
    assert [event.data for event in await events_of(local)] == [b"1", b"2"]


@pytest.mark.parametrize("removed", ["trimmed", "deleted"])
async def test_a_stream_that_was_emptied_goes_on(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying, removed: str
) -> None:
    """What was stored stays, and what comes later is stored."""
    await emit(broker, 1)
    await relaying.finish(KEEP)
    if removed == "deleted":
        await broker.delete_stream("orders")
    else:
        await broker.removal.trim("orders", keep=0, force=True)
    await emit(broker, 2)
    await relaying.finish(KEEP)

    assert [event.data for event in await events_of(local)] == [b"1", b"2"]


@pytest.mark.covers("ARCH-9")
async def test_what_was_archived_comes_first_without_a_gap(
    local: StoreBackend, shared: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """A store that is filled from archive and stream has the same events in the same order as one from the stream."""
    for number in range(300):
        await emit(broker, number)
    await relaying.finish(KEEP)
    archive = MemoryArchive()

    async def open_archive() -> MemoryArchive:
        return archive

    relaying.how["open_archive"] = open_archive
    entries = await broker.range("orders", count=217)
    async for _ in Archiver(archive).run(broker, "orders"):
        break
    await Archiver(archive).archive(broker, "orders", entries, force=True)
    assert await broker.length("orders") < 300
    again = RelayPlan("again", source="stream:orders", target="shared", archive=True, page=50)
    await relaying.finish(again)

    assert [event.id for event in await events_of(shared)] == [event.id for event in await events_of(local)]
    assert len(await events_of(shared)) == 300


@pytest.mark.covers("ARCH-9")
async def test_archiving_while_the_relay_reads_loses_nothing(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """What moves into the archive between two looks is found there; the order of the stream is kept."""
    archive = MemoryArchive()

    async def open_archive() -> MemoryArchive:
        return archive

    relaying.how["open_archive"] = open_archive
    for number in range(120):
        await emit(broker, number)
    plan = RelayPlan("keep", source="stream:orders", target="local", archive=True, page=10)
    source = relaying.source(plan)
    seen: list[str] = []
    after, through = 0, (await source.horizon()).position
    while after < through:
        page = await source.read(after=after, through=through, limit=10)
        seen += [event.id for event in page.events]
        after = page.through
        oldest = await broker.range("orders", count=7)
        await Archiver(archive).archive(broker, "orders", oldest, force=True)

    assert seen == [f"event {number}" for number in range(120)]
