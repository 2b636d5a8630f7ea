"""Bytes and schemas that do not fit."""

from collections.abc import Sequence

from penstock.errors._base import PenstockError

__all__ = [
    "CodecError",
    "EncodeError",
    "DecodeError",
    "UndecodableEntryError",
    "UnknownContentTypeError",
]


class CodecError(PenstockError):
    """The bytes do not fit the schema: trying again will not help."""


class EncodeError(CodecError):
    """A value that its content type cannot carry. Nothing was sent."""

    def __init__(self, content_type: str, reason: str) -> None:
        self.content_type, self.reason = content_type, reason
        super().__init__(f"cannot be written as {content_type}: {reason}")


class DecodeError(CodecError):
    """Bytes that are not what their content type, or the wanted type, says."""

    def __init__(self, content_type: str, reason: str) -> None:
        self.content_type, self.reason = content_type, reason
        super().__init__(f"cannot be read as {content_type}: {reason}")


class UndecodableEntryError(CodecError):
    """An entry that this layout or this type cannot read."""

    def __init__(self, stream: str, entry_id: str, reason: str) -> None:
        self.stream, self.entry_id, self.reason = stream, entry_id, reason
        super().__init__(f"entry {entry_id} of stream {stream!r} cannot be read: {reason}")


class UnknownContentTypeError(CodecError):
    """A content type no registered codec answers to."""

    def __init__(self, content_type: str, known: Sequence[str]) -> None:
        self.content_type, self.known = content_type, tuple(known)
        super().__init__(f"content type {content_type!r} is not known; known are {', '.join(self.known)}")
