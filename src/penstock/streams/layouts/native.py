"""Our own layout: the fields ``id``, ``name``, ``meta`` and ``data``, in that order.

The order is constant because the server stores field names once per node when consecutive entries share them
(``STREAM_ITEM_FLAG_SAMEFIELDS`` in Valkey's ``t_stream.c``). ``data`` is absent when there is no body.

An entry added by hand needs no more than a name and, if it has one, a JSON body:
``XADD order.placed * name order.placed data '{"order_id": "1"}'``. Its event id is then derived from its place.
"""

import uuid
from typing import Final

import msgspec

from penstock.codec import Codec
from penstock.errors import UndecodableEntryError
from penstock.message import Message, Meta
from penstock.position import EntryId

__all__ = ["NATIVE", "NativeLayout", "id_of_place"]

_OF_PLACE: Final = uuid.UUID("6a5e2a53-6f65-5d0c-9c0b-7d1f1d3c2b1a")
_encode_meta: Final = msgspec.json.Encoder().encode
_decode_meta: Final = msgspec.json.Decoder(Meta).decode


def id_of_place(stream: str, place: str) -> str:
    """The event id of an entry that carries none: a UUIDv5 of where it stands, or first stood."""
    return str(uuid.uuid5(_OF_PLACE, f"{stream}/{place}"))


class NativeLayout:
    """Four fields in constant order."""

    name = "penstock"
    codecs: tuple[Codec, ...] = ()

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message; no ``data`` when it has no body."""
        fields = [b"id", event_id.encode(), b"name", name.encode(), b"meta", _encode_meta(meta)]
        if data is not None:
            fields += (b"data", data)
        return fields

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry of ours, or in one added by hand that has at least a ``name``."""
        size = len(fields)
        try:
            if (
                ((size == 8 and fields[6] == b"data") or size == 6)
                and fields[0] == b"id"
                and fields[2] == b"name"
                and fields[4] == b"meta"
            ):
                return Message(
                    fields[1],
                    fields[3].decode(),
                    stream,
                    raw_entry_id,
                    _decode_meta(fields[5]),
                    fields[7] if size == 8 else None,
                )
            return self._read_foreign(stream, raw_entry_id, fields)
        except (msgspec.DecodeError, UnicodeDecodeError) as failure:
            raise UndecodableEntryError(stream, raw_entry_id.decode(), str(failure)) from failure

    def _read_foreign(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        values = dict(zip(fields[::2], fields[1::2], strict=False))
        if b"name" not in values:
            shown = ", ".join(sorted(field.decode("utf-8", "replace") for field in values)) or "none"
            raise UndecodableEntryError(
                stream, raw_entry_id.decode(), f"it has no field 'name' (its fields: {shown[:200]})"
            )
        entry_id = EntryId.parse(raw_entry_id)
        given_id, given_meta = values.get(b"id"), values.get(b"meta")
        return Message(
            id=given_id.decode() if given_id else id_of_place(stream, str(entry_id)),
            name=values[b"name"].decode(),
            stream=stream,
            raw_entry_id=raw_entry_id,
            meta=_decode_meta(given_meta) if given_meta else Meta(time=entry_id.ms * 1000),
            data=values.get(b"data"),
        )


NATIVE: Final = NativeLayout()
"""The layout of every stream that names no other."""
