"""What a layout promises."""

from typing import Protocol

from penstock.codec import Codec
from penstock.message import Message, Meta

__all__ = ["EntryReader", "Layout"]


class EntryReader(Protocol):
    """Makes messages of entries: a `Layout`, or the `Layouts` of many streams."""

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry. Raises `UndecodableEntryError`; never looks into the body."""
        ...


class Layout(EntryReader, Protocol):
    """Turns messages into the flat fields of an entry, and back."""

    @property
    def name(self) -> str:
        """What settings call it."""
        ...

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """How a body may be written in it, the usual way first; empty where every codec will do.

        An event whose class, or whoever emits it, asks for another codec is written by the first of them.
        """
        ...

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message: name, value, name, value, and so on; at least one pair.

        Raises:
            CodecError: The body cannot be carried.
        """
        ...
