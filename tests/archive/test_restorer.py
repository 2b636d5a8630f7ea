"""Restoring: added first, then removed from the archive; once, with everything that it was."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from penstock.archive import (
    Archive,
    ArchivedMessage,
    ArchivePlace,
    Archiver,
    MemoryArchive,
    Restored,
    Restorer,
)
from penstock.errors import ArchiveUnavailableError
from penstock.message import Meta
from penstock.position import EntryId
from penstock.streams.abc import Cap, Index, NewEntry, StreamBroker
from penstock.streams.layouts import LAYOUTS, NATIVE, Layout
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from penstock.testing.faulty import After, Crashed, Faulty
from tests.archive.moving import STREAM, add, kept, run, there


async def restore(
    archive: Archive,
    broker: StreamBroker,
    *,
    layout_for: Callable[[str], Layout] = lambda _: NATIVE,
    cap_for: Callable[[str], Cap | None] = lambda _: None,
    index_of: Callable[[ArchivedMessage], Index | None] = lambda _: None,
) -> list[Restored]:
    """Restore everything of the stream."""
    messages = await archive.find_many(STREAM, count=1000)
    restorer = Restorer(archive, layout_for=layout_for, cap_for=cap_for, index_of=index_of)
    return await restorer.restore(broker, messages) if messages else []


async def archived(broker: StreamBroker, count: int) -> MemoryArchive:
    """An archive with *count* messages that were in the stream."""
    archive = MemoryArchive()
    await add(broker, count)
    await run(Archiver(archive), broker)
    return archive


@pytest.mark.covers("ARCH-5", "ARCH-6", "MSG-9")
async def test_a_restored_message_is_in_the_stream_again(broker: StreamBroker) -> None:
    """Under a new entry id, with its event id, its time, and the entry id that it had first; it left the archive."""
    archive = MemoryArchive()
    headers = {"имя": "значение", "traceparent": "00-1"}
    meta = Meta(1_700_000_000_000_123, "shop", "ключ", 3, "command", "application/json", headers, "c", "d")
    raw_id = await broker.append(NewEntry(STREAM, NATIVE.pack("заказ-1", "order.placed", meta, b'{"n":1}')))
    await run(Archiver(archive), broker)

    [result] = await restore(archive, broker)

    [[new_id, new_fields]] = await broker.range(STREAM)
    message = NATIVE.read(STREAM, new_id, new_fields)
    assert (result.old_id, result.new_id, result.error) == (EntryId.parse(raw_id), message.entry_id, None)
    assert message.entry_id > result.old_id
    assert message.original_id == result.old_id
    assert (message.id, message.name, message.data) == ("заказ-1", "order.placed", b'{"n":1}')
    meta.original_id = raw_id.decode()
    assert message.meta == meta
    assert await archive.counts() == {}


@pytest.mark.covers("MSG-9")
async def test_the_first_entry_id_survives_many_rounds(broker: StreamBroker) -> None:
    """Archived and restored again and again, a message names the place where it was first."""
    archive = await archived(broker, 1)
    [first] = await archive.find_many(STREAM)
    for _ in range(3):
        await restore(archive, broker)
        [[raw_id, values]] = await broker.range(STREAM)
        message = NATIVE.read(STREAM, raw_id, values)
        assert message.original_id == first.entry_id
        assert message.id == first.event_id
        await run(Archiver(archive), broker)
        [again] = await archive.find_many(STREAM)
        assert (again.original_id, again.first_id) == (first.entry_id, first.entry_id)
        assert again.entry_id == message.entry_id
        assert again.digest == first.digest


async def test_a_message_that_was_never_archived_has_no_original_id(broker: StreamBroker) -> None:
    """It is where it was first."""
    await add(broker, 1)
    [[raw_id, values]] = await broker.range(STREAM)
    assert NATIVE.read(STREAM, raw_id, values).original_id is None
    assert b"original_id" not in values[5]


@pytest.mark.covers("MSG-2", "ARCH-8")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
async def test_every_layout_comes_back_as_it_was(broker: StreamBroker, layout: Layout) -> None:
    """Read again by its layout the message says the same, and where it stood first."""
    archive = MemoryArchive()
    meta = Meta(1_700_000_000_000_000, "shop", kind="command", content_type="application/json")
    await broker.append(
        NewEntry(STREAM, layout.pack("e1", "order.placed", meta, b'{"n": 1.0, "t": "\xc3\xbc/"}'))
    )
    [[raw_id, values]] = await broker.range(STREAM)
    before = layout.read(STREAM, raw_id, values)
    await run(Archiver(archive, layout_for=lambda _: layout), broker)

    [result] = await restore(archive, broker, layout_for=lambda _: layout)

    assert result.error is None
    [[new_id, new_values]] = await broker.range(STREAM)
    after = layout.read(STREAM, new_id, new_values)
    assert (after.id, after.name, after.data, after.kind) == (
        before.id,
        before.name,
        before.data,
        before.kind,
    )
    assert (after.time, after.source, after.key) == (before.time, before.source, before.key)
    assert after.content_hash == before.content_hash
    assert after.original_id == EntryId.parse(raw_id)
    old = dict(zip(values[::2], values[1::2], strict=True))
    new = dict(zip(new_values[::2], new_values[1::2], strict=True))
    assert [name for name in old if name not in (b"meta", b"penstock") and old[name] != new.get(name)] in (
        [],
        [b""],  # streamerson's headers, which are the place for it there
    )


@pytest.mark.covers("ARCH-8")
async def test_fields_added_by_others_stay(broker: StreamBroker) -> None:
    """Only what tells the first entry id is written; unknown fields and unknown parts of the envelope come back."""
    archive = MemoryArchive()
    odd = b'{"time": 5, "tenant": {"a": [1, 2.50]}, "kind":"notification"}'
    entry = [b"id", b"e1", b"name", b"n", b"meta", odd, b"data", b"x", b"extra", b"\xff", b"extra", b"2"]
    await broker.append(NewEntry(STREAM, entry))
    await run(Archiver(archive), broker)
    await restore(archive, broker)

    [[_, values]] = await broker.range(STREAM)
    assert values[:5] + values[6:] == entry[:5] + entry[6:]
    assert b'"tenant":{"a": [1, 2.50]}' in values[5]


async def test_an_entry_written_by_hand_keeps_its_identity(broker: StreamBroker) -> None:
    """Its id and time come from its place; restored they are written down, so that they stay what they were."""
    archive = MemoryArchive()
    raw_id = await broker.append(NewEntry(STREAM, [b"name", b"order.placed", b"data", b"{}"]))
    before = NATIVE.read(STREAM, raw_id, [b"name", b"order.placed", b"data", b"{}"])
    await run(Archiver(archive), broker)
    await restore(archive, broker)

    [[new_id, values]] = await broker.range(STREAM)
    after = NATIVE.read(STREAM, new_id, values)
    assert (after.id, after.time, after.original_id) == (before.id, before.time, EntryId.parse(raw_id))


async def test_an_entry_that_nobody_can_read_comes_back_as_it_was(broker: StreamBroker) -> None:
    """Byte for byte; there is no place in it for more."""
    archive = MemoryArchive()
    await broker.append(NewEntry(STREAM, [b"\xff\xfe", b"\x00"]))
    await run(Archiver(archive), broker)
    await restore(archive, broker)
    [[_, values]] = await broker.range(STREAM)
    assert values == [b"\xff\xfe", b"\x00"]


async def test_a_restored_entry_counts_from_its_restoration() -> None:
    """It keeps its time, and is young again for whoever archives by age."""
    clock = ManualClock()
    broker = MemoryBroker(server=MemoryServer(clock))
    archive = MemoryArchive()
    await add(broker, 1)
    await clock.advance(timedelta(days=9))
    assert (await run(Archiver(archive), broker, older_than=timedelta(days=5))).archived == 1
    await restore(archive, broker)
    await clock.advance(timedelta(days=4))

    assert (await run(Archiver(archive), broker, older_than=timedelta(days=5))).archived == 0
    await clock.advance(timedelta(days=2))
    assert (await run(Archiver(archive), broker, older_than=timedelta(days=5))).archived == 1


async def test_its_place_in_a_history_goes_with_it(broker: StreamBroker) -> None:
    """Whoever restores may say where the message belongs; it is noted in the step that adds it."""
    archive = await archived(broker, 1)
    [message] = await archive.find_many(STREAM)
    await restore(archive, broker, index_of=lambda each: Index("order.placed", "o1", place=each.first_id))
    [chapter] = (await broker.history.page(STREAM, "order.placed", "o1")).chapters
    assert chapter.place == message.entry_id
    assert chapter.entry is not None


# -- once -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-6")
async def test_restoring_twice_adds_nothing_twice(broker: StreamBroker) -> None:
    """Two at the same time, or one that broke off and is run again: one entry of each."""
    archive = await archived(broker, 20)
    messages = await archive.find_many(STREAM, count=100)
    restorer = Restorer(archive)

    both = await asyncio.gather(*(restorer.restore(broker, messages) for _ in range(3)))
    later = await restorer.restore(broker, messages)

    assert await there(broker) == [f"e{number}" for number in range(20)]
    assert {tuple(each.new_id for each in results) for results in [*both, later]} == {
        tuple(each.new_id for each in later)
    }
    assert await archive.counts() == {}


@pytest.mark.covers("ARCH-6")
async def test_a_crash_at_any_step_loses_nothing() -> None:
    """Each message is in the archive, in the stream, or in both; run again, it is in the stream once."""

    async def prepared() -> tuple[MemoryBroker, MemoryArchive]:
        real = MemoryBroker()
        return real, await archived(real, 3)

    real, archive = await prepared()
    watched = Faulty(real)
    await restore(archive, watched)
    assert len(watched.steps) >= 4
    for number in range(len(watched.steps)):
        real, archive = await prepared()
        with pytest.raises(Crashed):
            await restore(archive, Faulty(real, crash_at=number))
        assert {*await kept(archive), *await there(real)} == {"e0", "e1", "e2"}, number
        await restore(archive, real)
        assert await there(real) == ["e0", "e1", "e2"], number
        assert await archive.counts() == {}


@pytest.mark.covers("ARCH-6")
async def test_a_crash_between_the_steps_is_finished_by_running_again(broker: StreamBroker) -> None:
    """The entries are there and the copies, too: nothing is added, and the copies go."""
    archive = await archived(broker, 3)

    class Dying(MemoryArchive):
        async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
            raise Crashed

    messages = await archive.find_many(STREAM)
    with pytest.raises(Crashed):
        await Restorer(Dying()).restore(broker, messages)
    assert await there(broker) == await kept(archive) == ["e0", "e1", "e2"]

    results = await restore(archive, broker)

    assert [each.error for each in results] == [None] * 3
    assert await there(broker) == ["e0", "e1", "e2"]
    assert await archive.counts() == {}


@pytest.mark.covers("ARCH-4", "ARCH-6")
async def test_archived_again_between_the_steps_it_is_not_lost(broker: StreamBroker) -> None:
    """An archiver takes the restored entry before the restorer removed its copy: that copy moved on, and stays."""
    archive = await archived(broker, 1)
    messages = await archive.find_many(STREAM)

    class Slow(MemoryArchive):
        async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
            await run(Archiver(archive), broker)
            return await archive.delete(stream, places)

    await Restorer(Slow()).restore(broker, messages)

    assert await there(broker) == []
    assert await kept(archive) == ["e0"]
    await restore(archive, broker)
    assert await there(broker) == ["e0"]


async def test_what_was_restored_and_removed_since_is_added_anew(broker: StreamBroker) -> None:
    """A restoration broke off, its entry was handled and purged: the copy is there, and restoring it adds an entry."""
    archive = await archived(broker, 1)
    messages = await archive.find_many(STREAM)
    [first] = await Restorer(MemoryArchive()).restore(broker, messages)
    assert first.new_id is not None
    await broker.delete(STREAM, [first.new_id])
    now_ms = await broker.server_time_us() // 1000
    while await broker.server_time_us() // 1000 == now_ms:
        await asyncio.sleep(0)

    [again] = await restore(archive, broker)

    assert again.new_id != first.new_id
    assert await there(broker) == ["e0"]
    assert await archive.counts() == {}


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-5", "ARCH-6")
async def test_what_cannot_be_added_stays_in_the_archive(broker: StreamBroker) -> None:
    """A full stream refuses some: the others are restored, and each refusal is told."""
    archive = await archived(broker, 5)
    await broker.create_group(STREAM, "slow", EntryId(0))

    results = await restore(archive, broker, cap_for=lambda _: Cap(max_entries=3))

    assert [each.error is None for each in results] == [True, True, True, False, False]
    assert "cap" in (results[4].error or "")
    assert await there(broker) == ["e0", "e1", "e2"]
    assert await kept(archive) == ["e3", "e4"]


@pytest.mark.covers("ARCH-6")
async def test_a_lost_answer_keeps_the_copy(broker: StreamBroker) -> None:
    """Nobody knows whether the entry is there: the copy stays, and running it again settles it."""
    archive = await archived(broker, 1)
    broken = Faulty(broker, fail={"append_many": [After(ArchiveUnavailableError("gone"))]})
    with pytest.raises(ArchiveUnavailableError):
        await restore(archive, broken)
    assert await kept(archive) == ["e0"]

    await restore(archive, broker)

    assert await there(broker) == ["e0"]
    assert await archive.counts() == {}


async def test_an_archive_that_cannot_remove_is_told(broker: StreamBroker) -> None:
    """The message is back and still archived; the result says to run it again."""
    archive = await archived(broker, 1)

    class ReadOnly(MemoryArchive):
        async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
            raise ArchiveUnavailableError("read-only")

    [result] = await Restorer(ReadOnly()).restore(broker, await archive.find_many(STREAM))
    assert result.new_id is not None
    assert "restore it again" in (result.error or "")


# -- one group ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-6")
async def test_one_listener_of_a_group_handles_it_again(broker: StreamBroker) -> None:
    """The record is that listener's; the message keeps its event id."""
    archive = await archived(broker, 1)
    messages: list[ArchivedMessage] = await archive.find_many(STREAM)
    await Restorer(archive).restore_to_group(broker, "billing", messages, listener="charge")
    [due] = await broker.failures.due([(STREAM, "billing")], count=9)
    assert (due.key.listener, due.key.entry_id) == ("charge", messages[0].entry_id)


@pytest.mark.covers("ARCH-5", "LEAD-6")
async def test_one_group_handles_it_again_and_nothing_is_added(broker: StreamBroker) -> None:
    """Due records of that group; the stream stays as it is, and so does the archive."""
    archive = await archived(broker, 3)
    messages: list[ArchivedMessage] = await archive.find_many(STREAM)
    restorer = Restorer(archive)

    results = await restorer.restore_to_group(broker, "billing", messages)
    await restorer.restore_to_group(broker, "billing", messages)

    assert [(each.group, each.new_id, each.error) for each in results] == [("billing", None, None)] * 3
    due = await broker.failures.due([(STREAM, "billing")], count=9)
    assert [each.key.entry_id for each in due] == [each.entry_id for each in messages]
    assert await broker.failures.due([(STREAM, "mail")], count=9) == []
    assert await there(broker) == []
    assert await kept(archive) == ["e0", "e1", "e2"]
