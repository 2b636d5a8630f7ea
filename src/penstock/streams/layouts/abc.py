"""What a layout promises."""

from typing import Protocol

from penstock.message import Message, Meta

__all__ = ["Layout"]


class Layout(Protocol):
    """Turns messages into the flat fields of an entry, and back."""

    name: str

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message: name, value, name, value, and so on."""
        ...

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry. Raises `UndecodableEntryError`; never looks into the body."""
        ...
