"""Adding entries: ids, bodies, many at once, once per token."""

import asyncio

import pytest

from penstock.errors import EntryIdTooSmallError
from penstock.position import EntryId
from penstock.streams.abc import Cap, Condition, Dedupe, StreamBroker
from penstock.testing.contracts._common import (
    AGES,
    MOMENT,
    NAMES,
    Contract,
    PassTime,
    add,
    entry,
    ids_of,
    numbered,
    parsed,
)

__all__ = ["AppendingContract"]

_FAR = EntryId(9_000_000_000_000, 7)
"""An id of the year 2255."""


class AppendingContract(Contract):
    """An entry is written whole, under a rising id, or not at all."""

    @pytest.mark.covers("READ-1")
    @pytest.mark.parametrize("stream", NAMES)
    async def test_what_was_appended_is_there_under_the_answered_id(
        self, broker: StreamBroker, stream: str
    ) -> None:
        """The answer is the entry's id, whatever the stream is called."""
        entry_id = await broker.append(entry(stream, b"a", b"1"))

        assert await broker.range(stream) == [[entry_id, [b"a", b"1"]]]
        assert await broker.streams() == [stream]

    async def test_ids_rise_with_every_entry(self, broker: StreamBroker) -> None:
        """Entries added one after the other, even within a millisecond, have rising ids."""
        added = parsed(await add(broker, "orders", 50))

        assert added == sorted(set(added))

    async def test_many_tasks_append_at_once(self, broker: StreamBroker) -> None:
        """Concurrent appends all arrive, each answered with the id of its own entry."""
        entries = numbered("orders", 100)
        answered = await asyncio.gather(*map(broker.append, entries))

        stored = {one[0]: one[1] for one in await broker.range("orders")}
        assert [stored[entry_id] for entry_id in answered] == [one.fields for one in entries]

    @pytest.mark.parametrize(
        "fields",
        [
            [b"empty", b""],
            [b"", b"no name"],
            [b"twice", b"1", b"twice", b"2"],
            [b"bytes", bytes(range(256))],
            [b"large", b"x" * 1024 * 1024],
            [b"ids", b"1-1", b"none", b"\r\n$-1\r\n"],
            [word for number in range(200) for word in (b"f%d" % number, b"v")],
        ],
        ids=["empty value", "empty name", "same name twice", "all bytes", "1 MiB", "protocol", "200 fields"],
    )
    async def test_fields_come_back_as_they_were(self, broker: StreamBroker, fields: list[bytes]) -> None:
        """Names and values are bytes that nobody interprets; their order and repetitions are kept."""
        entry_id = await broker.append(entry("orders", *fields))

        assert await broker.range("orders") == [[entry_id, fields]]

    @pytest.mark.covers("EMIT-2")
    async def test_an_explicit_id_is_used(self, broker: StreamBroker) -> None:
        """An entry may bring its id; ids that the server makes later are above it."""
        assert await broker.append(entry("orders", entry_id=_FAR)) == bytes(_FAR)
        later = await broker.append(entry("orders"))

        assert EntryId.parse(later) > _FAR

    @pytest.mark.covers("EMIT-2")
    @pytest.mark.parametrize(
        "low", [_FAR, _FAR.previous(), EntryId(1)], ids=["equal", "one below", "far below"]
    )
    async def test_an_id_that_is_not_above_the_last_is_refused(
        self, broker: StreamBroker, low: EntryId
    ) -> None:
        """The error names the stream and the id, and nothing is written."""
        await broker.append(entry("orders", entry_id=_FAR))

        with pytest.raises(EntryIdTooSmallError) as refused:
            await broker.append(entry("orders", entry_id=low))

        assert (refused.value.stream, refused.value.entry_id) == ("orders", str(low))
        assert ids_of(await broker.range("orders")) == [bytes(_FAR)]

    async def test_ids_stay_above_deleted_ones(self, broker: StreamBroker) -> None:
        """The last id counts even when its entry is gone."""
        await broker.append(entry("orders", entry_id=_FAR))
        await broker.delete("orders", [_FAR])

        with pytest.raises(EntryIdTooSmallError):
            await broker.append(entry("orders", entry_id=_FAR))

    async def test_the_lowest_id_of_all_is_refused(self, broker: StreamBroker) -> None:
        """``0-0`` stands for before everything and cannot be an entry; no stream appears."""
        with pytest.raises(EntryIdTooSmallError):
            await broker.append(entry("orders", entry_id=EntryId(0, 0)))

        assert await broker.streams() == []

    # -- many ---------------------------------------------------------------------------------------------------

    async def test_many_entries_keep_their_order(self, broker: StreamBroker) -> None:
        """One call writes entries of several streams; each stream has its own in the given order, ids as answered."""
        entries = [one for pair in zip(numbered("a", 500), numbered("b", 500), strict=True) for one in pair]
        outcomes = await broker.append_many(entries)

        assert {outcome.condition for outcome in outcomes} == {Condition.WRITTEN}
        for stream in ("a", "b"):
            answered = [o.entry_id for one, o in zip(entries, outcomes, strict=True) if one.stream == stream]
            expected = [[raw, one.fields] for raw, one in zip(answered, numbered(stream, 500), strict=True)]
            assert await broker.range(stream) == expected

    async def test_nothing_to_append_is_nothing_done(self, broker: StreamBroker) -> None:
        """No entries, no outcomes."""
        assert await broker.append_many([]) == []
        assert await broker.streams() == []

    async def test_a_refused_entry_does_not_stop_those_after_it(self, broker: StreamBroker) -> None:
        """Each entry has its own outcome: a refused one says why, the others are written."""
        outcomes = await broker.append_many(
            [
                entry("orders", b"n", b"0", entry_id=_FAR),
                entry("orders", b"n", b"1", entry_id=EntryId(1)),
                entry("orders", b"n", b"2", cap=Cap(max_entries=10)),
                entry("orders", b"n", b"3", entry_id=EntryId(2), cap=Cap(max_entries=10)),
                entry("orders", b"n", b"4"),
            ]
        )

        written, refused = Condition.WRITTEN, Condition.NOT_WRITTEN
        assert [outcome.condition for outcome in outcomes] == [written, refused, written, refused, written]
        assert [outcome.entry_id is None for outcome in outcomes] == [False, True, False, True, False]
        assert [type(outcome.cause) for outcome in outcomes if outcome.cause] == [EntryIdTooSmallError] * 2
        assert [fields[1] for _, fields in await broker.range("orders")] == [b"0", b"2", b"4"]

    # -- once per token -----------------------------------------------------------------------------------------

    async def test_a_token_writes_once_within_its_window(self, broker: StreamBroker) -> None:
        """A second append with the same token answers with the first one's id and writes nothing."""
        once = Dedupe("event 7", window=AGES)
        first = await broker.append(entry("orders", b"n", b"0", dedupe=once))
        await add(broker, "orders", 1)

        assert await broker.append(entry("orders", b"n", b"1", dedupe=once)) == first
        assert await broker.append(entry("orders", dedupe=Dedupe("event 8", window=AGES))) != first
        assert await broker.length("orders") == 3

    async def test_a_token_writes_once_within_one_call(self, broker: StreamBroker) -> None:
        """Among many entries of one call the token counts as well; the second is told the first one's id."""
        once = Dedupe("event 7", window=AGES)
        first, second = await broker.append_many([entry("orders", dedupe=once), entry("orders", dedupe=once)])

        assert first == second
        assert await broker.length("orders") == 1

    async def test_a_token_writes_again_after_its_window(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """The window ends."""
        once = Dedupe("event 7", window=MOMENT)
        first = await broker.append(entry("orders", dedupe=once))
        await pass_time(2 * MOMENT)
        second = await broker.append(entry("orders", dedupe=once))

        assert first != second
        assert await broker.length("orders") == 2

    async def test_many_tasks_with_one_token_write_one_entry(self, broker: StreamBroker) -> None:
        """Concurrent appends with the same token agree on one id."""
        once = Dedupe("event 7", window=AGES)
        answered = await asyncio.gather(*(broker.append(entry("orders", dedupe=once)) for _ in range(50)))

        assert len(set(answered)) == 1
        assert await broker.length("orders") == 1

    async def test_a_refused_entry_does_not_use_up_its_token(self, broker: StreamBroker) -> None:
        """Only what was written answers for later appends."""
        once = Dedupe("event 7", window=AGES)
        await broker.append(entry("orders", entry_id=_FAR))
        with pytest.raises(EntryIdTooSmallError):
            await broker.append(entry("orders", entry_id=EntryId(1), dedupe=once))

        await broker.append(entry("orders", dedupe=once))

        assert await broker.length("orders") == 2
