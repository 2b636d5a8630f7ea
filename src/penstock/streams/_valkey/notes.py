"""Who did what to failed messages: a short stream ``notes`` beside the stream, one JSON text an entry."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.position import EntryId
from penstock.streams._valkey.server import Server
from penstock.streams.abc import MOST_NOTES, Note

__all__ = ["ValkeyNotes"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Written(msgspec.Struct, array_like=True):
    """A note as the server keeps it; its time is that of its entry."""

    who: str
    what: str
    which: str
    why: str
    count: int


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Written).decode


class ValkeyNotes:
    """`NoteStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def add(self, stream: str, *, who: str, what: str, which: str, why: str, count: int) -> None:
        """Note something under the server's time."""
        server, written = self._server, _encode(_Written(who, what, which, why, count))
        await server.ask(
            server.settles,
            *(b"XADD", server.keys.beside(stream, "notes"), b"MAXLEN", MOST_NOTES, b"*", b"note", written),
            stream=stream,
        )

    async def latest(self, stream: str, *, count: int = 100) -> list[Note]:
        """What was noted, latest first."""
        server = self._server
        key = server.keys.beside(stream, "notes")
        entries = await server.ask(
            server.looks, b"XREVRANGE", key, b"+", b"-", b"COUNT", count, stream=stream
        )
        return [_note(entry_id, fields[1]) for entry_id, fields in entries]


def _note(entry_id: bytes, packed: bytes) -> Note:
    written = _decode(packed)
    when = _EPOCH + timedelta(milliseconds=EntryId.parse(entry_id).ms)
    return Note(written.who, written.what, written.which, written.why, written.count, when)
