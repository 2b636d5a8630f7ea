"""Archiving: what everybody has settled and is old enough goes, in bounded pages; what is needed stays."""

from datetime import timedelta

import pytest

from penstock.archive import Archiver, MemoryArchive
from penstock.errors import ConfigurationError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import NewEntry, StreamBroker
from penstock.streams.layouts import UnknownLayout
from penstock.streams.memory import MemoryBroker
from tests.archive.moving import STREAM, add, fields, kept, run, settle, there


@pytest.mark.covers("ARCH-3")
async def test_what_everybody_has_settled_moves_into_the_archive(broker: StreamBroker) -> None:
    """Every entry, byte for byte, with its place; the stream is empty afterwards, and running again finds nothing."""
    archive = MemoryArchive()
    ids = await add(broker, 50)
    await settle(broker, "billing", 50)
    before = await broker.range(STREAM)

    done = await run(Archiver(archive), broker)

    assert (done.archived, done.looked, done.held, done.held_by, done.failed) == (50, 50, 0, (), ())
    assert await there(broker) == []
    found = await archive.find_many(STREAM, count=100)
    assert [[bytes(each.entry_id), list(each.fields)] for each in found] == before
    assert [each.entry_id for each in found] == [EntryId.parse(raw) for raw in ids]
    assert (await run(Archiver(archive), broker)).looked == 0


@pytest.mark.covers("ARCH-3")
async def test_only_what_is_old_enough_goes(broker: StreamBroker) -> None:
    """By when it was added, by the server's clock, whatever time the event names."""
    archive = MemoryArchive()
    now_ms = await broker.server_time_us() // 1000
    for age_ms in (7200_000, 3601_000, 3500_000, 0):
        entry_id = EntryId(now_ms - age_ms)
        await broker.append(NewEntry(STREAM, fields(f"{age_ms}", time=0), entry_id=entry_id))

    done = await run(Archiver(archive), broker, older_than=timedelta(hours=1))

    assert done.archived == 2
    assert await kept(archive) == ["7200000", "3601000"]
    assert await there(broker) == ["3500000", "0"]


@pytest.mark.covers("ARCH-3", "GC-1")
async def test_what_somebody_needs_stays_and_it_is_said_who(broker: StreamBroker) -> None:
    """Unread, pending, behind a cursor: left where it is, and not stored either."""
    archive = MemoryArchive()
    await add(broker, 10)
    await settle(broker, "billing", 8)
    await settle(broker, "mail", 10)

    done = await run(Archiver(archive), broker)

    assert (done.archived, done.held) == (8, 0)
    assert [(hold.kind.value, hold.name) for hold in done.held_by] == [("group", "billing")]
    assert await kept(archive) == [f"e{number}" for number in range(8)]
    assert await there(broker) == ["e8", "e9"]


async def test_a_pending_entry_holds_itself_and_no_other(broker: StreamBroker) -> None:
    """One that is still being handled stays; those before and after it that everybody has settled go."""
    archive = MemoryArchive()
    ids = await add(broker, 5)
    await broker.create_group(STREAM, "billing", BEGINNING)
    await broker.read_group("billing", "ann", [STREAM], count=5)
    await broker.acknowledge(STREAM, "billing", [*ids[:2], *ids[3:]])

    done = await run(Archiver(archive), broker)

    assert (done.archived, done.held) == (4, 1)
    assert [(hold.name, hold.pending) for hold in done.held_by] == [("billing", 1)]
    assert await there(broker) == ["e2"]
    assert await kept(archive) == ["e0", "e1", "e3", "e4"]


async def test_a_registered_group_that_has_not_begun_needs_everything(broker: StreamBroker) -> None:
    """Nothing goes before it was there."""
    archive = MemoryArchive()
    await add(broker, 3)
    await broker.removal.register_groups(STREAM, ["later"])

    done = await run(Archiver(archive), broker)

    assert done.archived == 0
    assert [(hold.kind.value, hold.name) for hold in done.held_by] == [("absent group", "later")]
    assert await archive.counts() == {}


async def test_a_cursor_holds_what_lies_behind_it(broker: StreamBroker) -> None:
    """A reader without a group that keeps its place is a reader all the same."""
    archive = MemoryArchive()
    ids = await add(broker, 5)
    await broker.save_cursor(STREAM, "audit", ids[1])

    assert (await run(Archiver(archive), broker)).archived == 2
    assert await there(broker) == ["e2", "e3", "e4"]


async def test_force_archives_what_is_needed_too(broker: StreamBroker) -> None:
    """A person said so; it is in the archive then."""
    archive = MemoryArchive()
    await add(broker, 5)
    await settle(broker, "billing", 1)

    assert (await run(Archiver(archive), broker, force=True)).archived == 5
    assert await there(broker) == []
    assert await kept(archive) == [f"e{number}" for number in range(5)]


@pytest.mark.covers("ARCH-3")
async def test_a_dry_run_changes_nothing(broker: StreamBroker) -> None:
    """It counts what would go."""
    archive = MemoryArchive()
    await add(broker, 5)
    await settle(broker, "billing", 3)

    done = await run(Archiver(archive), broker, dry_run=True)

    assert (done.archived, [hold.name for hold in done.held_by]) == (3, ["billing"])
    assert await archive.counts() == {}
    assert len(await there(broker)) == 5


async def test_a_stream_that_does_not_exist_has_nothing(broker: StreamBroker) -> None:
    """No error, and it is not made by asking."""
    assert (await run(Archiver(MemoryArchive()), broker, "none")).looked == 0
    assert await broker.streams() == []


@pytest.mark.covers("ARCH-8")
async def test_an_entry_that_nobody_can_read_is_archived_as_it_is(broker: StreamBroker) -> None:
    """Its bytes are kept, under an id made of its place."""
    archive = MemoryArchive()
    await broker.append(NewEntry(STREAM, [b"\xff\xfe", bytes(range(256))]))

    assert (await run(Archiver(archive), broker)).archived == 1

    [message] = await archive.find_many(STREAM)
    assert (message.fields, message.name, message.layout) == ((b"\xff\xfe", bytes(range(256))), "", "")


async def test_a_layout_that_is_not_loaded_archives_nothing(broker: StreamBroker) -> None:
    """Read by another one its messages would have other identities: the app has to be named."""
    archive = MemoryArchive()
    await add(broker, 1)
    with pytest.raises(ConfigurationError, match="name the app"):
        await run(Archiver(archive, layout_for=lambda _: UnknownLayout("ours")), broker)
    assert await there(broker) == ["e0"]


@pytest.mark.covers("ARCH-3")
@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_a_long_stream_is_archived_in_bounded_pages(torture: bool) -> None:
    """Never more than a page of a few hundred is asked for, and never more than some megabytes."""
    entries = 1_000_000 if torture else 20_000
    broker, archive = MemoryBroker(), MemoryArchive()
    for start in range(0, entries, 1000):
        await broker.append_many(
            [NewEntry(STREAM, fields(f"{number}")) for number in range(start, start + 1000)]
        )
    sizes: list[int] = []
    async for step in Archiver(archive).run(broker, STREAM):
        sizes.append(step.looked)

    assert sum(sizes) == entries
    assert max(sizes) <= 500
    assert await archive.counts() == {STREAM: entries}


async def test_large_messages_are_taken_a_few_at_a_time(broker: StreamBroker) -> None:
    """What is in memory at a time is bounded in bytes, not only in messages."""
    archive = MemoryArchive()
    large = b"x" * (1024 * 1024)
    for number in range(60):
        await broker.append(NewEntry(STREAM, fields(f"e{number}", large)))
    sizes = [step.looked async for step in Archiver(archive).run(broker, STREAM)]
    assert sum(sizes) == 60
    assert max(sizes[1:]) <= 8
