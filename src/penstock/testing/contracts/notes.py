"""`NoteStoreContract`: who did what to failed messages, and why."""

import asyncio
from datetime import UTC, datetime

import pytest

from penstock.streams.abc import MOST_NOTES, StreamBroker
from penstock.testing.contracts._common import NAMES, Contract, add

__all__ = ["NoteStoreContract"]

_HARD = 'é 注 "quoted" \x00\n\\ \x1b[31m'


class NoteStoreContract(Contract):
    """What every `NoteStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    @pytest.mark.covers("LEAD-7")
    @pytest.mark.parametrize("name", NAMES)
    async def test_notes_come_latest_first(self, broker: StreamBroker, name: str) -> None:
        """Under any name, with any text, under the server's time, and only so many as are asked for."""
        began_us = await broker.server_time_us()
        for number in range(3):
            await broker.notes.add(name, who=name, what="retry", which=_HARD, why=_HARD, count=number)
        await broker.notes.add("others", who="", what="flush", which="", why="", count=0)

        found = await broker.notes.latest(name)

        assert [(note.who, note.what, note.which, note.why, note.count) for note in found] == [
            (name, "retry", _HARD, _HARD, number) for number in (2, 1, 0)
        ]
        began = datetime.fromtimestamp(began_us // 1000 / 1000, UTC)
        assert found == sorted(found, key=lambda note: note.when, reverse=True)
        assert all(note.when >= began for note in found)
        assert await broker.notes.latest(name, count=2) == found[:2]

    async def test_a_stream_without_notes_has_none(self, broker: StreamBroker) -> None:
        """Asking makes nothing, and noting makes no stream."""
        assert await broker.notes.latest("orders") == []
        await broker.notes.add("orders", who="ann", what="flush", which="", why="", count=1)
        assert await broker.streams() == []

    @pytest.mark.covers("LEAD-7")
    async def test_only_the_latest_are_kept(self, broker: StreamBroker) -> None:
        """However many people do however much, what is kept is bounded."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(MOST_NOTES + 5):
                tasks.create_task(
                    broker.notes.add("orders", who="ann", what="edit", which="", why="", count=number)
                )

        found = await broker.notes.latest("orders", count=2 * MOST_NOTES)
        assert [note.count for note in found] == list(range(MOST_NOTES + 4, 4, -1))

    async def test_notes_go_with_their_stream(self, broker: StreamBroker) -> None:
        """A stream that was deleted leaves none behind."""
        await add(broker, "orders", 1)
        await broker.notes.add("orders", who="ann", what="edit", which="", why="", count=1)
        await broker.delete_stream("orders")
        assert await broker.notes.latest("orders") == []
