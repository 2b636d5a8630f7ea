"""Archiving: stored first, then removed; what is needed stays; nothing is lost, whoever else is at it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.archive import Archive, ArchivedMessage, ArchivePage, Archiver, Created, MemoryArchive
from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError
from penstock.message import Meta
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import NewEntry, RawId, StreamBroker
from penstock.streams.embedded import use_server
from penstock.streams.layouts import NATIVE, UnknownLayout
from penstock.streams.memory import MemoryBroker
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import Crashed, Faulty

STREAM = "orders"
EVERYTHING = timedelta(0)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server for this test process."""
    with use_server(Path(tmp_path_factory.mktemp("server"))) as server:
        yield server.url


@pytest.fixture(params=["memory", "valkey"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[StreamBroker]:
    """Streams in memory, and on a real server."""
    made: Any = MemoryBroker()
    if request.param == "valkey":
        url = request.getfixturevalue("server_url")
        made = ValkeyBroker(url, namespace=f"archive-{uuid.uuid4().hex[:12]}")
    await made.open()
    yield made
    for stream in await made.streams():
        await made.delete_stream(stream)
    await made.close()


def fields(event_id: str, body: bytes = b"{}", *, time: int = 1_700_000_000_000_000) -> list[bytes]:
    """An entry's fields."""
    return NATIVE.pack(event_id, "order.placed", Meta(time=time), body)


async def add(broker: StreamBroker, count: int, *, stream: str = STREAM, start: int = 0) -> list[RawId]:
    """Add events ``e0``, ``e1``, and so on."""
    return [
        await broker.append(NewEntry(stream, fields(f"e{number}"))) for number in range(start, start + count)
    ]


async def run(archiver: Archiver, broker: StreamBroker, stream: str = STREAM, **how: Any) -> ArchivePage:
    """Archive a stream; all pages in one."""
    steps = [step async for step in archiver.run(broker, stream, **how)]
    return ArchivePage(
        stream,
        looked=sum(step.looked for step in steps),
        archived=sum(step.archived for step in steps),
        gone=sum(step.gone for step in steps),
        held=sum(step.held for step in steps),
        held_by=tuple(dict.fromkeys(hold for step in steps for hold in step.held_by)),
        failed=tuple(failure for step in steps for failure in step.failed),
    )


async def kept(archive: Archive, stream: str = STREAM) -> list[str]:
    """The event ids in the archive, in order."""
    return [message.event_id for message in await archive.find_many(stream, count=100_000)]


async def there(broker: StreamBroker, stream: str = STREAM) -> list[str]:
    """The event ids in the stream, in order."""
    entries = await broker.range(stream)
    return [NATIVE.read(stream, entry[0], entry[1]).id for entry in entries]


async def settle(broker: StreamBroker, group: str, count: int, *, stream: str = STREAM) -> None:
    """Have a group handle the next *count* entries."""
    await broker.create_group(stream, group, BEGINNING)
    for _ in range(count):
        read = await broker.read_group(group, "ann", [stream], count=1)
        for name, entries in read.batches:
            await broker.acknowledge(name, group, [entry[0] for entry in entries])


# -- what goes and what stays ---------------------------------------------------------------------------------------


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


# -- errors ---------------------------------------------------------------------------------------------------------


class Choosy(MemoryArchive):
    """An archive that refuses some messages, or everything."""

    def __init__(self, refuses: set[str], *, is_full: bool = False) -> None:
        super().__init__()
        self.refuses, self.is_full = refuses, is_full

    async def create(self, message: ArchivedMessage) -> Created:
        """Keep one message."""
        return (await self.create_many([message]))[0]

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages, unless one of them is refused."""
        if self.is_full:
            raise ArchiveUnavailableError("no space left on device")
        if refused := self.refuses.intersection(message.event_id for message in messages):
            raise ArchiveError(f"{refused} is too much")
        return await super().create_many(messages)


@pytest.mark.covers("ARCH-3")
async def test_a_message_that_the_archive_refuses_stops_no_other(broker: StreamBroker) -> None:
    """It stays, and it is said why."""
    archive = Choosy({"e2"})
    ids = await add(broker, 5)

    done = await run(Archiver(archive), broker)

    assert done.archived == 4
    assert [(each.entry_id, "too much" in each.error) for each in done.failed] == [
        (EntryId.parse(ids[2]), True)
    ]
    assert await there(broker) == ["e2"]


async def test_a_full_archive_takes_nothing_out_of_the_stream(broker: StreamBroker) -> None:
    """Disk full, database away, read-only: an error, and everything is where it was."""
    await add(broker, 5)
    with pytest.raises(ArchiveUnavailableError, match="no space"):
        await run(Archiver(Choosy(set(), is_full=True)), broker)
    assert len(await there(broker)) == 5


async def test_two_messages_under_one_event_id_are_not_mixed_up(broker: StreamBroker) -> None:
    """The second says something else: it stays in the stream, and it is said why."""
    archive = MemoryArchive()
    await broker.append(NewEntry(STREAM, fields("same", b'{"n":1}')))
    await broker.append(NewEntry(STREAM, fields("same", b'{"n":2}')))
    await broker.append(NewEntry(STREAM, fields("same", b'{"n":1}')))

    done = await run(Archiver(archive), broker)

    assert (done.archived, len(done.failed)) == (2, 1)
    assert "another message" in done.failed[0].error
    [left] = await broker.range(STREAM)
    assert b'{"n":2}' in left[1]


# -- several, and crashes -------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-4")
async def test_two_archivers_leave_one_copy_of_each(broker: StreamBroker, archive: Archive) -> None:
    """At the same time over the same stream: each message is archived once, and gone from the stream."""
    await add(broker, 120)

    done = await asyncio.gather(*(run(Archiver(archive), broker) for _ in range(3)))

    assert sum(each.archived for each in done) == 120
    assert sum(len(each.failed) + each.held for each in done) == 0
    assert await kept(archive) == [f"e{number}" for number in range(120)]
    assert await archive.counts() == {STREAM: 120}
    assert await there(broker) == []


@pytest.mark.covers("ARCH-4")
async def test_two_archivers_step_by_step(broker: StreamBroker) -> None:
    """The slower one finds the entry removed: the copy stays, whichever of them made it."""
    archive = MemoryArchive()
    await add(broker, 1)
    reached, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryArchive):
        async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
            answers = await archive.create_many(messages)
            reached.set()
            await go.wait()
            return answers

    slow = asyncio.create_task(run(Archiver(Slow()), broker))
    await reached.wait()
    quick = await run(Archiver(archive), broker)
    go.set()
    late = await slow

    assert (quick.archived, quick.gone, late.archived, late.gone) == (1, 0, 0, 1)
    assert await kept(archive) == ["e0"]
    assert await there(broker) == []


@pytest.mark.covers("ARCH-4")
async def test_a_crash_at_any_step_loses_nothing() -> None:
    """Each message is in the archive, in the stream, or in both; run again, it is in the archive alone."""
    watched = Faulty(MemoryBroker())
    await add(watched, 4)
    before = len(watched.steps)
    await run(Archiver(MemoryArchive()), watched)
    for number in range(before, len(watched.steps)):
        real, archive = MemoryBroker(), MemoryArchive()
        await add(real, 4)
        crashing = Faulty(real, crash_at=number - before)
        with pytest.raises(Crashed):
            await run(Archiver(archive), crashing)
        assert {*await kept(archive), *await there(real)} == {"e0", "e1", "e2", "e3"}, number
        await run(Archiver(archive), real)
        assert await kept(archive) == ["e0", "e1", "e2", "e3"]
        assert await there(real) == []


async def test_a_lost_answer_of_the_archive_is_repeated_safely(broker: StreamBroker) -> None:
    """Stored, and nobody heard of it: the next run finds it there and removes the entry."""
    archive = MemoryArchive()
    await add(broker, 3)

    class Deaf(MemoryArchive):
        async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
            await archive.create_many(messages)
            raise ArchiveUnavailableError("the connection broke")

    with pytest.raises(ArchiveUnavailableError):
        await run(Archiver(Deaf()), broker)
    assert len(await there(broker)) == 3

    assert (await run(Archiver(archive), broker)).archived == 3
    assert await kept(archive) == ["e0", "e1", "e2"]


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
