"""Keys for entries that carry none, as those of most other systems: taken from the message itself."""

import contextlib
import uuid

from penstock.codec import Codec
from penstock.errors import CodecError
from penstock.message import Message, Meta
from penstock.streams.layouts.abc import Layout

__all__ = ["KeyedLayout"]


class KeyedLayout:
    """Another layout, whose messages get a key where they have none.

    It is the header called *key_from*, else what stands at that dotted path of the body, if that is text, a whole
    number or a UUID. The bodies of entries without a key are decoded for it, which no layout does by itself.
    """

    def __init__(self, layout: Layout, key_from: str) -> None:
        self.layout = layout
        self.key_from = key_from

    @property
    def name(self) -> str:
        """That of the other layout."""
        return self.layout.name

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Those of the other layout."""
        return self.layout.codecs

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """As the other layout does. Raises `CodecError`."""
        return self.layout.pack(event_id, name, meta, data)

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """As the other layout does, with the key. Raises `UndecodableEntryError`."""
        message = self.layout.read(stream, raw_entry_id, fields)
        if message.meta.key is None:
            message.meta.key = self._key(message)
        return message

    def _key(self, message: Message) -> str | None:
        found: object = message.headers.get(self.key_from)
        if found is None:
            # A body that cannot be read is for the listener to fail at.
            with contextlib.suppress(CodecError):
                found = message.get(self.key_from, None)
        if isinstance(found, bool) or not isinstance(found, str | int | uuid.UUID):
            return None
        return str(found)
