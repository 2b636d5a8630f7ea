"""The table of an archive in a database, and how a message becomes a row."""

import hashlib
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from penstock.archive._records import decode_fields, encode_fields, microseconds, moment
from penstock.archive.abc import ArchivedMessage
from penstock.message import Meta
from penstock.position import EntryId

__all__ = ["identity_of", "message_of", "row_of", "safe", "sortable", "table", "unsafe"]

_encode_meta: Final = msgspec.json.Encoder().encode
_decode_meta: Final = msgspec.json.Decoder(Meta).decode

_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
table = sa.Table(
    "penstock_archive",
    sa.MetaData(),
    # SHA-256 over stream and event id.
    sa.Column("identity", sa.LargeBinary, primary_key=True),
    sa.Column("stream", _Text, nullable=False),
    # Both numbers in twenty digits, so that text order is id order.
    sa.Column("entry_id", _Text, nullable=False),
    sa.Column("first_id", _Text, nullable=False),
    sa.Column("event_id", _Text, nullable=False),
    sa.Column("name", _Text, nullable=False),
    sa.Column("layout", _Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("archived_us", sa.BigInteger, nullable=False),
    sa.Column("meta", _Text, nullable=False),
    sa.Column("fields", sa.LargeBinary, nullable=False),
    sa.Index("penstock_archive_places", "stream", "entry_id", "event_id"),
    sa.Index("penstock_archive_first", "stream", "first_id"),
)
"""The table, for those who look into it with SQL. A NUL in a text is written ``\\0``, a backslash ``\\\\``."""


def row_of(message: ArchivedMessage) -> dict[str, Any]:
    """A message as a row."""
    return {
        "identity": identity_of(message.stream, message.event_id),
        "stream": safe(message.stream),
        "entry_id": sortable(message.entry_id),
        "first_id": sortable(message.first_id),
        "event_id": safe(message.event_id),
        "name": safe(message.name),
        "layout": safe(message.layout),
        "digest": message.digest,
        "time_us": max(-(2**63), min(message.meta.time, 2**63 - 1)),
        "archived_us": microseconds(message.archived_at),
        "meta": _encode_meta(message.meta).decode(),
        "fields": encode_fields(message.fields),
    }


def message_of(row: Any) -> ArchivedMessage:
    """A row as a message."""
    return ArchivedMessage(
        stream=unsafe(row.stream),
        entry_id=EntryId(*map(int, row.entry_id.split("-"))),
        event_id=unsafe(row.event_id),
        name=unsafe(row.name),
        meta=_decode_meta(row.meta),
        layout=unsafe(row.layout),
        fields=decode_fields(bytes(row.fields)),
        digest=bytes(row.digest),
        archived_at=moment(row.archived_us),
    )


def identity_of(stream: str, event_id: str) -> bytes:
    """What stands for a message: names of any length and with any character are the same to every database."""
    name = stream.encode()
    return hashlib.sha256(b"%d:%b%b" % (len(name), name, event_id.encode())).digest()


def sortable(entry_id: EntryId) -> str:
    """An entry id in digits that sort as it does."""
    return f"{entry_id.ms:020d}-{entry_id.sequence:020d}"


def safe(text: str) -> str:
    """*text* as every database takes it: PostgreSQL keeps no NUL."""
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\\" in text or "\0" in text else text


def unsafe(text: str) -> str:
    """A text that `safe` wrote."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))
