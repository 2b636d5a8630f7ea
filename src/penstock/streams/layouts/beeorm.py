"""The layout of BeeORM's event broker (Go): the body as MessagePack in the field ``s``, metadata as further fields.

Its events have no names, so an event is named like its stream. A body without metadata and metadata without a body are
both events there. Its document gives the version of a schema as metadata ``version``, which is read as ours.
"""

from typing import Final

from penstock.codec import MESSAGEPACK, Codec
from penstock.message import Message, Meta
from penstock.position import EntryId
from penstock.streams.layouts._foreign import (
    FIELD,
    Beside,
    fitting,
    headers_of,
    own,
    pairs,
    read_beside,
    whole,
)
from penstock.streams.layouts.native import id_of_place

__all__ = ["BEEORM", "BeeOrmLayout"]

_BODY: Final = "s"
_VERSION: Final = "version"


class BeeOrmLayout:
    """A body in ``s``, a field for each header, and the rest of our envelope in one more, called ``penstock``.

    A header that is called ``s`` or ``penstock`` travels in that last one, so that it does not take the body's place.
    """

    name = "beeorm"
    codecs: tuple[Codec, ...] = (MESSAGEPACK,)

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message; no ``s`` when it has no body."""
        body, _ = fitting(data, meta, self.codecs)
        tags: list[bytes] = []
        moved: dict[str, str] = {}
        for header, value in meta.headers.items():
            if header in (_BODY, FIELD, _VERSION):
                moved[header] = value
            if header not in (_BODY, FIELD):
                tags += (header.encode(), value.encode())
        if meta.version > 1 and _VERSION not in meta.headers:
            tags += (_VERSION.encode(), b"%d" % meta.version)
        beside = Beside(
            id=event_id,
            name=name,
            time=meta.time,
            source=meta.source,
            key=meta.key,
            version=meta.version,
            kind=meta.kind,
            headers=moved,
            correlation=meta.correlation,
            causation=meta.causation,
            original_id=meta.original_id,
        )
        fields = [FIELD.encode(), beside.encode(), *tags]
        return fields if body is None else [_BODY.encode(), body, *fields]

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry, whatever its fields are."""
        if (native := own(stream, raw_entry_id, fields)) is not None:
            return native
        values = pairs(stream, raw_entry_id, fields)
        body, written = values.pop(_BODY, None), values.pop(FIELD, None)
        beside = read_beside(written, stream, raw_entry_id)
        headers = headers_of(values, stream, raw_entry_id)
        version = beside.version
        if written is None:
            version = max(1, whole(headers.get(_VERSION)) or 1)
        else:
            headers.pop(_VERSION, None)  # ours, or among those that were moved
        return Message(
            beside.id or id_of_place(stream, beside.original_id or raw_entry_id.decode()),
            beside.name or stream,
            stream,
            raw_entry_id,
            Meta(
                time=EntryId.parse(raw_entry_id).ms * 1000 if beside.time is None else beside.time,
                source=beside.source,
                key=beside.key,
                version=version,
                kind=beside.kind,
                content_type=MESSAGEPACK.content_type,
                headers={**headers, **beside.headers},
                correlation=beside.correlation,
                causation=beside.causation,
                original_id=beside.original_id,
            ),
            body,
        )


BEEORM: Final = BeeOrmLayout()
"""The layout that settings call ``beeorm``."""
