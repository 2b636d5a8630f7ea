"""Durable cursors: how far a reader without a group has come."""

import asyncio

import pytest

from penstock.position import EntryId
from penstock.streams.abc import StreamBroker
from penstock.testing.contracts._common import NAMES, Contract, add

__all__ = ["CursorsContract"]


class CursorsContract(Contract):
    """A cursor is kept for each name and stream, and goes forward only."""

    @pytest.mark.covers("READ-6")
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_cursor_is_kept(self, broker: StreamBroker, name: str) -> None:
        """What was saved under a name is loaded under that name, also by who connects later."""
        [position] = await add(broker, name, 1)
        await broker.save_cursor(name, name, position)
        await broker.close()
        await broker.open()

        assert await broker.load_cursor(name, name) == position
        assert await broker.cursors(name) == {name: EntryId.parse(position)}

    async def test_an_unknown_cursor_is_none(self, broker: StreamBroker) -> None:
        """Nothing saved, nothing loaded."""
        assert await broker.load_cursor("orders", "audit") is None
        assert await broker.cursors("orders") == {}
        assert await broker.delete_cursor("orders", "audit") is False

    @pytest.mark.parametrize(
        ("kept", "older"),
        [(b"10-0", b"9-5"), (b"7-10", b"7-9"), (b"7-0", b"7-0"), (b"10000000000000000000-1", b"9-1")],
    )
    async def test_a_cursor_never_moves_back(self, broker: StreamBroker, kept: bytes, older: bytes) -> None:
        """A late save of an older position changes nothing; ids compare as numbers, not as text."""
        await broker.save_cursor("orders", "audit", kept)
        await broker.save_cursor("orders", "audit", older)
        assert await broker.load_cursor("orders", "audit") == kept

        higher = bytes(EntryId.parse(kept).next())
        await broker.save_cursor("orders", "audit", higher)
        assert await broker.load_cursor("orders", "audit") == higher

    async def test_the_highest_of_many_saves_stays(self, broker: StreamBroker) -> None:
        """In whatever order concurrent saves arrive."""
        positions = [b"%d-%d" % (number * 7 % 40, number % 3) for number in range(1, 40)]
        await asyncio.gather(*(broker.save_cursor("orders", "audit", position) for position in positions))

        assert await broker.load_cursor("orders", "audit") == bytes(max(map(EntryId.parse, positions)))

    async def test_readers_have_a_cursor_each(self, broker: StreamBroker) -> None:
        """Names and streams do not mix."""
        await broker.save_cursor("orders", "audit", b"3-0")
        await broker.save_cursor("orders", "search", b"5-0")
        await broker.save_cursor("invoices", "audit", b"4-0")

        assert await broker.cursors("orders") == {"audit": EntryId(3), "search": EntryId(5)}
        assert await broker.load_cursor("invoices", "audit") == b"4-0"

    async def test_a_forgotten_cursor_starts_anew(self, broker: StreamBroker) -> None:
        """After it was deleted, any position may be saved."""
        await broker.save_cursor("orders", "audit", b"3-0")
        assert await broker.delete_cursor("orders", "audit") is True
        assert await broker.load_cursor("orders", "audit") is None

        await broker.save_cursor("orders", "audit", b"2-0")
        assert await broker.load_cursor("orders", "audit") == b"2-0"
