"""`ArchiveContract`: the whole of what an archive promises."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from penstock.archive import Archive, ArchivedMessage, ArchivePlace, Created
from penstock.message import Meta
from penstock.position import EntryId
from penstock.testing.contracts._common import NAMES

__all__ = ["ArchiveContract", "archived"]

_THEN: Final = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
_LAST: Final = 2**64 - 1


def archived(
    event_id: str = "e1",
    entry_id: EntryId = EntryId(1_700_000_000_000, 3),
    *,
    stream: str = "orders",
    body: bytes = b'{"total": 3}',
    original_id: str | None = None,
    **envelope: Any,
) -> ArchivedMessage:
    """A message to be kept."""
    meta = Meta(time=1_700_000_000_000_123, original_id=original_id, **envelope)
    fields = (b"id", event_id.encode(), b"name", b"order.placed", b"meta", b"{}", b"data", body)
    digest = hashlib.sha256(body).digest()
    return ArchivedMessage(
        stream, entry_id, event_id, "order.placed", meta, "penstock", fields, digest, _THEN
    )


def _numbered(count: int, *, stream: str = "orders") -> list[ArchivedMessage]:
    return [archived(f"e{number}", EntryId(1000 + number), stream=stream) for number in range(count)]


async def _paged(archive: Archive, stream: str, count: int) -> list[ArchivedMessage]:
    found: list[ArchivedMessage] = []
    after: ArchivePlace | None = None
    while page := await archive.find_many(stream, after=after, count=count):
        assert len(page) <= count
        found += page
        after = page[-1].place
    return found


def _ids(messages: Sequence[ArchivedMessage]) -> list[str]:
    return [message.event_id for message in messages]


class ArchiveContract:
    """What every archive guarantees. Inherit it and supply the ``archive`` fixture: open, with nothing in it."""

    # -- keeping ------------------------------------------------------------------------------------------------

    @pytest.mark.covers("ARCH-1", "ARCH-8")
    async def test_a_message_is_found_as_it_was(self, archive: Archive) -> None:
        """By event id and by entry id, with its whole envelope and every byte."""
        message = archived(
            "заказ-7",
            source="shop",
            key="ключ/✗",
            version=3,
            kind="command",
            content_type="application/msgpack",
            headers={"traceparent": "00-ab", "имя": "значение\n\x00"},
            correlation="c",
            causation="d",
            body=bytes(range(256)),
        )

        assert await archive.create(message) is Created.NEW

        assert await archive.find("orders", "заказ-7") == message
        assert await archive.find("orders", message.entry_id) == message
        assert await archive.find_many("orders") == [message]
        assert [each async for each in archive.all()] == [message]

    @pytest.mark.covers("ARCH-1")
    async def test_what_is_not_there_is_not_found(self, archive: Archive) -> None:
        """Neither an unknown message nor an unknown stream is an error."""
        await archive.create(archived())
        assert await archive.find("orders", "e2") is None
        assert await archive.find("orders", EntryId(5)) is None
        assert await archive.find("invoices", "e1") is None
        assert await archive.find_many("invoices") == []
        assert await archive.delete("invoices", [archived().place]) == 0

    async def test_keeping_nothing_keeps_nothing(self, archive: Archive) -> None:
        """An empty batch is no error, and an empty archive has no streams."""
        assert await archive.create_many([]) == []
        assert dict(await archive.counts()) == {}
        assert [each async for each in archive.all()] == []

    @pytest.mark.covers("ARCH-4")
    async def test_keeping_twice_keeps_one_copy(self, archive: Archive) -> None:
        """A second archiver, or a second try, finds it there; the first copy stays as it was."""
        message = archived()
        await archive.create(message)

        again = replace(message, archived_at=datetime(2027, 1, 1, tzinfo=UTC))
        assert await archive.create(again) is Created.THERE
        assert await archive.create_many([again, again]) == [Created.THERE, Created.THERE]

        assert await archive.find_many("orders") == [message]

    @pytest.mark.covers("ARCH-4")
    async def test_a_batch_may_have_a_message_twice(self, archive: Archive) -> None:
        """It is kept once, at the later of its places."""
        early, late = archived(), archived(entry_id=EntryId(1_800_000_000_000))

        assert await archive.create_many([early, late, early]) == [
            Created.NEW,
            Created.THERE,
            Created.THERE,
        ]

        assert await archive.find_many("orders") == [late]

    @pytest.mark.covers("ARCH-4", "MSG-9")
    async def test_the_later_place_of_a_message_counts(self, archive: Archive) -> None:
        """Restored meanwhile and archived again, a message has one copy, which says where it stood last and first."""
        first = archived()
        later = archived(entry_id=EntryId(1_800_000_000_000), original_id=str(first.entry_id))
        await archive.create(first)

        assert await archive.create(later) is Created.THERE
        assert await archive.create(first) is Created.THERE

        assert await archive.find_many("orders") == [later]
        assert await archive.find("orders", later.entry_id) == later
        assert await archive.find("orders", first.entry_id) == later
        assert dict(await archive.counts()) == {"orders": 1}

    async def test_another_message_never_takes_its_place(self, archive: Archive) -> None:
        """Two that say different things under one event id: the first stays, the second is told apart."""
        first = archived()
        other = archived(entry_id=EntryId(1_800_000_000_000), body=b'{"total": 4}')
        await archive.create(first)

        assert await archive.create(other) is Created.OTHER
        assert await archive.create_many([archived("e2"), other, first]) == [
            Created.NEW,
            Created.OTHER,
            Created.THERE,
        ]

        assert await archive.find("orders", "e1") == first

    async def test_streams_do_not_mix(self, archive: Archive) -> None:
        """The same event in two streams is two messages."""
        messages = [archived(stream="orders"), archived(stream="Orders"), archived(stream="orders.x")]
        assert await archive.create_many(messages) == [Created.NEW] * 3

        assert await archive.delete("orders", [messages[0].place]) == 1

        assert await archive.find("orders", "e1") is None
        assert await archive.find("Orders", "e1") == messages[1]
        assert dict(await archive.counts()) == {"Orders": 1, "orders.x": 1}

    @pytest.mark.parametrize("name", [*NAMES, ".", "..", "a/b", "a\\b", "A~", "n\0l", "long" * 200])
    async def test_names_may_be_anything(self, archive: Archive, name: str) -> None:
        """Streams, events and ids come back as they were given, whatever means something to a disk or a database."""
        message = replace(archived(name, stream=name), name=name, layout=name)
        await archive.create(message)

        assert await archive.find(name, name) == message
        assert dict(await archive.counts()) == {name: 1}
        assert [each async for each in archive.all()] == [message]
        assert await archive.delete(name, [message.place]) == 1

    @pytest.mark.parametrize(
        "fields",
        [
            (),
            (b"", b""),
            (b"n", b"1", b"n", b"2"),
            (b"raw", bytes(range(256))),
            (b"large", b"x" * 1024 * 1024),
        ],
        ids=["none", "empty", "same name twice", "all bytes", "1 MiB"],
    )
    @pytest.mark.covers("ARCH-8")
    async def test_fields_are_kept_byte_for_byte(self, archive: Archive, fields: tuple[bytes, ...]) -> None:
        """In their order, readable by a layout or not."""
        message = replace(archived(), fields=fields, name="", layout="")
        await archive.create(message)

        assert await archive.find("orders", "e1") == message

    @pytest.mark.covers("ARCH-4")
    async def test_two_archivers_keep_one_copy_of_each(self, archive: Archive) -> None:
        """At the same time, over the same messages: of each message one of them is told that it was new."""
        messages = _numbered(60)

        answers = await asyncio.gather(
            *(archive.create_many(messages[start : start + 40]) for start in (0, 20, 0, 20))
        )

        assert sum(answer.count(Created.NEW) for answer in answers) == 60
        assert await _paged(archive, "orders", 25) == messages
        assert dict(await archive.counts()) == {"orders": 60}

    # -- reading ------------------------------------------------------------------------------------------------

    @pytest.mark.covers("ARCH-1")
    async def test_a_stream_comes_in_pages_in_order(self, archive: Archive) -> None:
        """Each message once, by entry id as numbers, whatever order they were kept in and whatever the page."""
        places = [
            (9, 0),
            (10, 0),
            (10, 1),
            (10, 11),
            (10, _LAST),
            (86_400_000, 5),
            (10**18, 0),
            (_LAST, _LAST),
        ]
        messages = [archived(f"e{number}", EntryId(*place)) for number, place in enumerate(places)]
        for message in messages[::-2] + messages[-2::-2]:
            await archive.create(message)

        for count in (1, 2, 3, 7, 8, 100):
            assert await _paged(archive, "orders", count) == messages
        assert await archive.find_many("orders", after=messages[3].place, count=2) == messages[4:6]

    async def test_a_page_may_end_between_equal_entry_ids(self, archive: Archive) -> None:
        """A stream that was deleted gives an id again: both messages are listed, in the order of their event ids."""
        messages = [archived(name, EntryId(5)) for name in ("a", "b", "c", "ü", "✗")]
        await archive.create_many(messages[::-1])

        assert _ids(await _paged(archive, "orders", 1)) == ["a", "b", "c", "ü", "✗"]
        assert _ids(await _paged(archive, "orders", 2)) == ["a", "b", "c", "ü", "✗"]

    async def test_everything_comes_stream_by_stream(self, archive: Archive) -> None:
        """`all` goes through the streams by name, and through each in order."""
        orders, invoices = _numbered(7), _numbered(3, stream="invoices")
        await archive.create_many([*orders[::-1], *invoices])

        assert [each async for each in archive.all()] == [*invoices, *orders]

    # -- removing -----------------------------------------------------------------------------------------------

    @pytest.mark.covers("ARCH-1")
    async def test_removing_counts_what_was_there(self, archive: Archive) -> None:
        """Once each; the others stay."""
        messages = _numbered(10)
        await archive.create_many(messages)

        assert await archive.delete("orders", [each.place for each in messages[:4]]) == 4
        assert await archive.delete("orders", [each.place for each in messages[2:6]]) == 2
        assert await archive.delete("orders", []) == 0

        assert await archive.find_many("orders") == messages[6:]
        assert await archive.find("orders", messages[0].entry_id) is None
        assert dict(await archive.counts()) == {"orders": 4}

    @pytest.mark.covers("ARCH-6")
    async def test_a_copy_that_moved_on_is_not_removed(self, archive: Archive) -> None:
        """Who restored the earlier copy must not remove the one that an archiver has kept since."""
        first = archived()
        later = archived(entry_id=EntryId(1_800_000_000_000))
        await archive.create(first)
        await archive.create(later)

        assert await archive.delete("orders", [first.place]) == 0
        assert await archive.find_many("orders") == [later]
        assert await archive.delete("orders", [later.place]) == 1

    async def test_what_was_removed_may_be_kept_again(self, archive: Archive) -> None:
        """As a new message, several times over."""
        message = archived()
        for _ in range(3):
            assert await archive.create(message) is Created.NEW
            assert await archive.delete("orders", [message.place]) == 1
            assert await archive.find("orders", "e1") is None
        assert dict(await archive.counts()) == {}

    async def test_pages_go_on_while_others_remove(self, archive: Archive) -> None:
        """Restoring removes page by page what it reads: nothing is passed over."""
        messages = _numbered(30)
        await archive.create_many(messages)
        found: list[ArchivedMessage] = []
        after: ArchivePlace | None = None
        while page := await archive.find_many("orders", after=after, count=4):
            found += page
            after = page[-1].place
            await archive.delete("orders", [each.place for each in page])

        assert found == messages
        assert dict(await archive.counts()) == {}

    # -- life ---------------------------------------------------------------------------------------------------

    async def test_closing_loses_nothing(self, archive: Archive) -> None:
        """Opened again it has everything; opening, closing and migrating twice are no errors."""
        message = archived()
        await archive.create(message)
        await archive.close()
        await archive.close()
        await archive.open()
        await archive.open()
        await archive.migrate()

        assert await archive.find("orders", "e1") == message
