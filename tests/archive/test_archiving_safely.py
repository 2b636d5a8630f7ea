"""Archiving where something fails, beside others, killed at any step: stored first, then removed, nothing lost."""

import asyncio
from collections.abc import Sequence

import pytest

from penstock.archive import Archive, ArchivedMessage, Archiver, Created, MemoryArchive
from penstock.errors import ArchiveError, ArchiveUnavailableError
from penstock.position import EntryId
from penstock.streams.abc import NewEntry, StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing.faulty import Crashed, Faulty
from tests.archive.moving import STREAM, add, fields, kept, run, there


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
