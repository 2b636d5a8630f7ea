"""The history of one entity: a list of places beside the stream, written by the script that adds the entry.

``history:<event name>:<identifier>`` has one item an event, in order of first places: the place, or, of an event that
was put back, the place and its present id. ``histories`` is the set of ``<event name>:<identifier>`` that have a list,
and ``archived`` is there once events of the stream have gone to an archive.
"""

from collections.abc import Sequence
from typing import Any

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import pages
from penstock.streams.abc import Chapter, HistoryPage, Index
from penstock.streams.keys import escape

__all__ = ["ValkeyHistory", "history_keys", "index_arguments"]

_ITEMS_A_SCRIPT = 500


def history_keys(server: Server, stream: str, index: Index) -> tuple[bytes, bytes]:
    """The list that *index* means and the set of all, as ``append.lua`` takes them."""
    beside = server.keys.beside
    return beside(stream, "history", index.name, index.identifier), beside(stream, "histories")


def index_arguments(index: Index | None) -> tuple[bytes, bytes]:
    """The name of the list and the first place, as ``append.lua`` takes them."""
    if index is None:
        return b"", b""
    place = b"" if index.place is None else bytes(index.place)
    return _name(index.name, index.identifier), b"?" + place if index.if_known else place


class ValkeyHistory:
    """`HistoryStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def page(
        self,
        stream: str,
        name: str,
        identifier: str,
        *,
        after: EntryId | None = None,
        count: int = 100,
        byte_budget: int = 1024 * 1024,
    ) -> HistoryPage:
        """Up to *count* events of the entity after a place, oldest first, read in one step."""
        if count < 1:
            raise UsageError(f"count is {count}; a page has at least one event")
        server = self._server
        keys = (server.keys.beside(stream, "history", name, identifier), server.keys.stream(stream))
        arguments = (b"" if after is None else bytes(after), count, byte_budget)
        more, *rows = await server.run(server.looks, "history_page", keys, arguments, stream=stream)
        return HistoryPage(tuple(_chapter(*row) for row in rows), bool(more))

    async def length(self, stream: str, name: str, identifier: str) -> int:
        """How many events of the entity are indexed, gone ones included."""
        server = self._server
        key = server.keys.beside(stream, "history", name, identifier)
        return int(await server.ask(server.looks, b"LLEN", key, stream=stream))

    async def prune(
        self, stream: str, name: str, identifier: str, chapters: Sequence[Chapter], *, archive_asked: bool
    ) -> int:
        """Forget events that exist nowhere any more; how many were forgotten."""
        server = self._server
        beside = server.keys.beside
        keys = (
            beside(stream, "history", name, identifier),
            server.keys.stream(stream),
            beside(stream, "histories"),
            beside(stream, "archived"),
        )
        forgotten = 0
        for page in pages(chapters, _ITEMS_A_SCRIPT):
            arguments: list[bytes | str | int] = [_name(name, identifier), int(archive_asked)]
            arguments += map(_item, page)
            forgotten += await server.run(server.settles, "prune_history", keys, arguments, stream=stream)
        return forgotten

    async def mark_archived(self, stream: str) -> None:
        """Note that events of the stream go to an archive."""
        server = self._server
        await server.ask(server.settles, b"SET", server.keys.beside(stream, "archived"), 1, stream=stream)


def _name(name: str, identifier: str) -> bytes:
    return f"{escape(name)}:{escape(identifier)}".encode()


def _item(chapter: Chapter) -> bytes:
    place, entry_id = bytes(chapter.place), bytes(chapter.entry_id)
    return place if place == entry_id else place + b" " + entry_id


def _chapter(item: bytes, entry: list[Any] | None) -> Chapter:
    place, _, entry_id = item.partition(b" ")
    return Chapter(EntryId.parse(place), EntryId.parse(entry_id or place), entry)
