"""How drivers write an archived message down: one MessagePack value, readable without any of our classes."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.archive.abc import ArchivedMessage
from penstock.message import Meta
from penstock.position import EntryId

__all__ = [
    "Record",
    "decode_fields",
    "encode_fields",
    "microseconds",
    "moment",
    "read_record",
    "write_record",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

encode_fields: Final = msgspec.msgpack.Encoder().encode
"""An entry's flat names and values as one value."""
decode_fields: Final = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode


class Record(msgspec.Struct, gc=False):
    """An archived message without its stream, which the file's folder names."""

    entry_id: str
    event_id: str
    name: str
    layout: str
    archived_us: int
    meta: Meta
    fields: tuple[bytes, ...]
    digest: bytes


def microseconds(time: datetime) -> int:
    """A time as microseconds since the Unix epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(time_us: int) -> datetime:
    """Microseconds since the Unix epoch as a time."""
    return _EPOCH + timedelta(microseconds=time_us)


def write_record(message: ArchivedMessage) -> Record:
    """What is written down of a message."""
    return Record(
        str(message.entry_id),
        message.event_id,
        message.name,
        message.layout,
        microseconds(message.archived_at),
        message.meta,
        message.fields,
        message.digest,
    )


def read_record(stream: str, record: Record) -> ArchivedMessage:
    """The message that was written down."""
    return ArchivedMessage(
        stream,
        EntryId.parse(record.entry_id),
        record.event_id,
        record.name,
        record.meta,
        record.layout,
        record.fields,
        record.digest,
        moment(record.archived_us),
    )
