"""`HistoryStoreContract`: the index of entries by event name and identifier."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from penstock.errors import EntryIdTooSmallError, StreamFullError, UsageError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Cap, Chapter, Condition, Dedupe, Index, NewEntry, RawId, StreamBroker
from penstock.testing.contracts._common import NAMES, Contract, add, fields_of, parsed

__all__ = ["HistoryStoreContract"]

_PLACED = Index("order.placed", "o-1")


def _about(
    identifier: str, number: int = 0, *, stream: str = "orders", name: str = "order.placed"
) -> NewEntry:
    return NewEntry(stream, [b"n", b"%d" % number], index=Index(name, identifier))


async def _history(
    broker: StreamBroker, identifier: str = "o-1", *, stream: str = "orders", name: str = "order.placed"
) -> list[Chapter]:
    found: list[Chapter] = []
    while True:
        after = found[-1].place if found else None
        page = await broker.history.page(stream, name, identifier, after=after, count=3)
        assert len(page.chapters) <= 3
        found += page.chapters
        if not page.more:
            return found


def _numbers(chapters: Sequence[Chapter]) -> list[int | None]:
    return [None if chapter.entry is None else int(chapter.entry[1][1]) for chapter in chapters]


async def _put_back(broker: StreamBroker, place: RawId, number: int) -> RawId:
    """Remove an entry and add it again, as restoring from an archive does."""
    await broker.delete("orders", [EntryId.parse(place)])
    index = Index("order.placed", "o-1", EntryId.parse(place))
    return await broker.append(NewEntry("orders", [b"n", b"%d" % number], index=index))


class HistoryStoreContract(Contract):
    """What every index of histories guarantees. Inherit it and supply ``broker``: open, on an empty namespace."""

    @pytest.mark.covers("HIST-1")
    async def test_the_history_of_an_entity_is_its_entries_in_order(self, broker: StreamBroker) -> None:
        """Those of its event name and identifier, oldest first, with their fields, and no others."""
        ids = [await broker.append(_about(f"o-{number % 2}", number)) for number in range(10)]
        await broker.append(_about("o-1", 99, name="order.paid"))
        await add(broker, "orders", 3)

        found = await _history(broker)

        assert _numbers(found) == [1, 3, 5, 7, 9]
        assert [chapter.place for chapter in found] == parsed(ids[1::2])
        assert [chapter.entry_id for chapter in found] == parsed(ids[1::2])
        assert await broker.history.length("orders", "order.placed", "o-1") == 5

    @pytest.mark.covers("HIST-1")
    async def test_many_entries_in_one_write_are_indexed_like_single_ones(self, broker: StreamBroker) -> None:
        """`append_many` keeps order, among entries with and without a history."""
        entries = [_about("o-1", number) for number in range(5)]
        entries[2] = NewEntry("orders", [b"n", b"2"])
        outcomes = await broker.append_many(entries)

        assert {outcome.condition for outcome in outcomes} == {Condition.WRITTEN}
        assert _numbers(await _history(broker)) == [0, 1, 3, 4]

    @pytest.mark.covers("HIST-5")
    async def test_an_unknown_identifier_has_no_history(self, broker: StreamBroker) -> None:
        """Nor does one of another name, stream, or of a stream that does not exist."""
        await broker.append(_about("o-1"))

        assert await _history(broker, "o-2") == []
        assert await _history(broker, name="order") == []
        assert await _history(broker, stream="nowhere") == []
        assert await broker.history.length("orders", "order.placed", "o-2") == 0

    @pytest.mark.covers("HIST-5")
    @pytest.mark.parametrize("text", [*NAMES, ""])
    async def test_names_and_identifiers_are_any_text(self, broker: StreamBroker, text: str) -> None:
        """Whatever is in them, no history is another's, nor a stream."""
        stream = text or "orders"
        await broker.append(_about(text, 1, stream=stream, name=stream))
        await broker.append(_about(f"{text}:x", 2, stream=stream, name=stream))
        await broker.append(_about("x", 3, stream=stream, name=f"{stream}:{text}"))

        assert _numbers(await _history(broker, text, stream=stream, name=stream)) == [1]
        assert _numbers(await _history(broker, "x", stream=stream, name=f"{stream}:{text}")) == [3]
        assert await broker.streams() == [stream]

    async def test_a_refused_entry_is_not_indexed(self, broker: StreamBroker) -> None:
        """A cap that is needed, or an id that is too small: neither stream nor history changes."""
        await broker.create_group("orders", "billing", BEGINNING)
        kept = await broker.append(_about("o-1", 0))

        with pytest.raises(StreamFullError):
            await broker.append(NewEntry("orders", [b"n", b"1"], cap=Cap(1), index=_PLACED))
        with pytest.raises(EntryIdTooSmallError):
            await broker.append(NewEntry("orders", [b"n", b"2"], entry_id=EntryId(1), index=_PLACED))

        assert [chapter.entry_id for chapter in await _history(broker)] == parsed([kept])

    async def test_an_entry_written_once_is_indexed_once(self, broker: StreamBroker) -> None:
        """A second append under the same token adds nothing to the history."""
        once = NewEntry("orders", [b"n", b"0"], dedupe=Dedupe("t"), index=_PLACED)
        assert await broker.append(once) == await broker.append(once)

        assert _numbers(await _history(broker)) == [0]

    @pytest.mark.covers("HIST-4")
    async def test_what_is_gone_from_the_stream_is_still_named(self, broker: StreamBroker) -> None:
        """By its place and without an entry, whether it was deleted or fell to a cap."""
        ids = [await broker.append(_about("o-1", number)) for number in range(4)]
        await broker.delete("orders", parsed(ids[1:2]))
        await broker.append(NewEntry("orders", [b"n", b"4"], cap=Cap(3, timedelta(days=1)), index=_PLACED))

        found = await _history(broker)

        assert _numbers(found) == [None, None, 2, 3, 4]
        assert [chapter.place for chapter in found[:2]] == parsed(ids[:2])

    @pytest.mark.covers("HIST-4")
    async def test_an_entry_that_is_put_back_takes_its_old_place(self, broker: StreamBroker) -> None:
        """Once, in the old order, and again when it is put back again; a place unknown by then is found anew."""
        ids = [await broker.append(_about("o-1", number)) for number in range(5)]
        again = await _put_back(broker, ids[1], 1)
        assert [chapter.entry_id for chapter in await _history(broker)][1] == EntryId.parse(again)
        assert _numbers(await _history(broker)) == [0, 1, 2, 3, 4]

        await broker.delete("orders", parsed([again]))
        assert _numbers(await _history(broker)) == [0, None, 2, 3, 4]
        await _put_back(broker, ids[1], 1)
        for number in (0, 2, 4):
            await broker.delete("orders", parsed([ids[number]]))
        gone = [chapter for chapter in await _history(broker) if chapter.entry is None]
        assert await broker.history.prune("orders", "order.placed", "o-1", gone, archive_asked=True) == 3
        assert _numbers(await _history(broker)) == [1, 3]

        for number in (2, 4, 0):
            await _put_back(broker, ids[number], number)
        await broker.append(_about("o-1", 5))

        found = await _history(broker)
        assert _numbers(found) == [0, 1, 2, 3, 4, 5]
        assert [chapter.place for chapter in found[:5]] == parsed(ids)

    async def test_an_entry_is_put_back_among_many(self, broker: StreamBroker) -> None:
        """Its place is found however far back it is."""
        outcomes = await broker.append_many([_about("o-1", number) for number in range(350)])
        ids = [outcome.entry_id or b"" for outcome in outcomes]
        for number in (0, 99, 100, 249, 250, 349):
            await _put_back(broker, ids[number], number)

        assert _numbers(await _history(broker)) == list(range(350))

    async def test_only_what_is_nowhere_is_forgotten(self, broker: StreamBroker) -> None:
        """What the stream has, and what was put back since one looked, stays."""
        ids = [await broker.append(_about("o-1", number)) for number in range(3)]
        await broker.delete("orders", parsed(ids[1:]))
        seen = await _history(broker)
        await _put_back(broker, ids[1], 1)

        assert await broker.history.prune("orders", "order.placed", "o-1", seen, archive_asked=False) == 1
        assert _numbers(await _history(broker)) == [0, 1]
        assert await broker.history.prune("orders", "order.placed", "o-1", [], archive_asked=True) == 0

    @pytest.mark.covers("HIST-4")
    async def test_what_was_archived_is_forgotten_only_by_who_asked_there(self, broker: StreamBroker) -> None:
        """A process that knows no archive may think that nothing is left; another one's archive has it."""
        [gone] = [await broker.append(_about("o-1", number)) for number in range(1)]
        await broker.history.mark_archived("orders")
        await broker.delete("orders", parsed([gone]))
        seen = await _history(broker)

        assert await broker.history.prune("orders", "order.placed", "o-1", seen, archive_asked=False) == 0
        assert await broker.history.length("orders", "order.placed", "o-1") == 1
        assert await broker.history.prune("orders", "order.placed", "o-1", seen, archive_asked=True) == 1
        assert await broker.history.length("orders", "order.placed", "o-1") == 0

    async def test_who_puts_back_need_not_know_what_is_indexed(self, broker: StreamBroker) -> None:
        """With `Index.if_known` an entry has its place where its entity has a history, and makes none elsewhere."""
        ids = [await broker.append(_about("o-1", number)) for number in range(2)]
        for identifier in ("o-1", "o-2"):
            known = Index("order.placed", identifier, EntryId.parse(ids[0]), if_known=True)
            await broker.append(NewEntry("orders", [b"n", b"9"], index=known))

        assert _numbers(await _history(broker)) == [9, 1]
        assert await _history(broker, "o-2") == []

    async def test_a_page_ends_at_its_budget_of_bytes(self, broker: StreamBroker) -> None:
        """It has at least one event, and says that there is more; the next goes on after it."""
        for _ in range(3):
            await broker.append(NewEntry("orders", [b"n", b"x" * 1000], index=_PLACED))

        first = await broker.history.page("orders", "order.placed", "o-1", byte_budget=1)
        assert (len(first.chapters), first.more) == (1, True)
        rest = await broker.history.page(
            "orders", "order.placed", "o-1", after=first.chapters[0].place, byte_budget=1500
        )
        assert (len(rest.chapters), rest.more) == (2, False)
        with pytest.raises(UsageError, match="at least one"):
            await broker.history.page("orders", "order.placed", "o-1", count=0)

    async def test_ids_compare_as_numbers(self, broker: StreamBroker) -> None:
        """A page begins after a place, whether or not an event stands there."""
        for number, place in enumerate([EntryId(9, 5), EntryId(10), EntryId(10, 2), EntryId(10, 10)]):
            await broker.append(NewEntry("orders", [b"n", b"%d" % number], entry_id=place, index=_PLACED))

        async def after(place: EntryId) -> list[int | None]:
            page = await broker.history.page("orders", "order.placed", "o-1", after=place)
            return _numbers(page.chapters)

        assert await after(EntryId(9, 4)) == [0, 1, 2, 3]
        assert await after(EntryId(9, 5)) == [1, 2, 3]
        assert await after(EntryId(10, 3)) == [3]
        assert await after(EntryId(11)) == []

    async def test_a_deleted_stream_has_no_histories(self, broker: StreamBroker) -> None:
        """However many there were; a stream of that name begins anew, and others keep theirs."""
        await broker.append_many([_about(f"o-{number}") for number in range(1500)])
        await broker.append(_about("o-1", stream="invoices"))
        await broker.delete_stream("orders")

        assert await _history(broker, "o-1") == []
        assert await _history(broker, "o-1499") == []
        assert len(await _history(broker, stream="invoices")) == 1
        await broker.append(_about("o-1", 7))
        assert _numbers(await _history(broker)) == [7]

    async def test_entries_with_a_history_are_read_like_others(self, broker: StreamBroker) -> None:
        """The index is beside the stream and not in it."""
        await broker.append(_about("o-1", 1))

        assert fields_of(await broker.read({"orders": b"0-0"}, count=10)) == {"orders": [[b"n", b"1"]]}
        assert await broker.length("orders") == 1
