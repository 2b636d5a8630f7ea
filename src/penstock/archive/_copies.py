"""Entries to archived messages and back: the entry is kept as it was; what comes back says where it stood first."""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from penstock.archive.abc import ArchivedMessage
from penstock.errors import UndecodableEntryError
from penstock.message import Meta
from penstock.position import EntryId
from penstock.streams.abc import RawEntry
from penstock.streams.layouts import NATIVE, Layout

__all__ = ["copy_of", "restored_fields"]

_UNREADABLE: Final = uuid.UUID("1a4d3c0e-58b2-5f6e-8d0a-33b5a0f2c7d9")
_decode_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def copy_of(stream: str, entry: RawEntry, layout: Layout, archived_at: datetime) -> ArchivedMessage:
    """What is to be kept of an entry. One that cannot be read is kept all the same, under an id made of its place."""
    raw_id: bytes = entry[0]
    fields: list[bytes] = entry[1] or []
    entry_id = EntryId.parse(raw_id)
    try:
        message = layout.read(stream, raw_id, fields)
    except UndecodableEntryError:
        event_id = str(uuid.uuid5(_UNREADABLE, f"{stream}/{entry_id}"))
        meta, digest = Meta(time=entry_id.ms * 1000), hashlib.sha256()
        for field in fields:
            digest.update(b"%d:%b" % (len(field), field))
        return ArchivedMessage(
            stream, entry_id, event_id, "", meta, "", tuple(fields), digest.digest(), archived_at
        )
    return ArchivedMessage(
        stream,
        entry_id,
        message.id,
        message.name,
        message.meta,
        layout.name,
        tuple(fields),
        bytes.fromhex(message.content_hash),
        archived_at,
    )


def restored_fields(copy: ArchivedMessage, layout: Layout) -> list[bytes]:
    """The fields under which an archived message goes back: as they were, and the entry id that it had first.

    An entry that no layout can read goes back without that. Raises `CodecError`.
    """
    if not copy.layout:
        return list(copy.fields)
    if layout.name == NATIVE.name or _is_ours(copy.fields):
        return _native(copy)
    return _foreign(copy, layout)


def _is_ours(fields: Sequence[bytes]) -> bool:
    """Whether an entry is in our own layout, as every other one reads too."""
    return len(fields) >= 6 and (fields[0], fields[2], fields[4]) == (b"id", b"name", b"meta")


def _native(copy: ArchivedMessage) -> list[bytes]:
    """Our own layout, nothing touched but ``meta``; what was added by hand without an id or ``meta`` gets its own."""
    fields = list(copy.fields)
    at = _value_of(fields, b"meta")
    meta = _decode_raw(fields[at] if at is not None and fields[at] else _encode(copy.meta))
    meta["original_id"] = msgspec.Raw(_encode(str(copy.first_id)))
    if at is None:
        fields += (b"meta", _encode(meta))
    else:
        fields[at] = _encode(meta)
    at = _value_of(fields, b"id")
    if at is None:
        return [b"id", copy.event_id.encode(), *fields]
    fields[at] = fields[at] or copy.event_id.encode()
    return fields


def _foreign(copy: ArchivedMessage, layout: Layout) -> list[bytes]:
    """Another system's layout: only the fields that tell the first entry id are written anew, if that reads well."""
    raw_id = bytes(copy.entry_id)
    data = layout.read(copy.stream, raw_id, list(copy.fields)).data
    wanted = msgspec.structs.replace(copy.meta, original_id=str(copy.first_id))
    packed = layout.pack(copy.event_id, copy.name, wanted, data)
    before = _pairs(layout.pack(copy.event_id, copy.name, copy.meta, data))
    fields = list(copy.fields)
    for name, value in _pairs(packed).items():
        if before.get(name) != value:
            at = _value_of(fields, name)
            if at is None:
                fields += (name, value)
            else:
                fields[at] = value
    try:
        again = layout.read(copy.stream, bytes(copy.entry_id.next()), fields)
    except UndecodableEntryError:
        return packed
    as_before = (again.id, again.name, again.meta, again.data) == (copy.event_id, copy.name, wanted, data)
    return fields if as_before else packed


def _pairs(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=False))


def _value_of(fields: Sequence[bytes], name: bytes) -> int | None:
    """Where the value of a field is. The last one of a name counts, as when it is read."""
    found = [at for at in range(0, len(fields) - 1, 2) if fields[at] == name]
    return found[-1] + 1 if found else None
