"""What publishing to a stream and appending to a store do alike: an event becomes a name, an envelope and a body."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

import msgspec

from penstock.codec import JSON, Codec
from penstock.errors import BodyTooLargeError, UsageError
from penstock.event import EventType, event_type, is_event
from penstock.message import Message, Meta

__all__ = ["CURRENT_MESSAGE", "Declarations", "Encoded", "encode", "enveloped", "nameless"]

CURRENT_MESSAGE: Final[ContextVar[Message | None]] = ContextVar("penstock_current_message", default=None)
"""The message being handled in this context; what is emitted or appended meanwhile names it as its cause."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """An event with its body as bytes."""

    name: str
    key: str | None
    version: int
    kind: str
    content_type: str
    data: bytes | None


class Declarations:
    """The declaration of each class of events that was seen so far."""

    def __init__(self) -> None:
        self._known: dict[type, EventType] = {}

    def of(self, cls: type) -> EventType | None:
        """How the class is declared; ``None`` if it is no event class."""
        declared = self._known.get(cls)
        if declared is None and is_event(cls):
            declared = self._known[cls] = event_type(cls)
        return declared


def encode(
    event: object,
    declared: EventType | None,
    name: str | None,
    key: str | None,
    kind: str | None,
    codec: Codec | None,
    max_body: int,
) -> Encoded:
    """The event with what its class declares, as far as the caller did not say otherwise.

    Raises:
        UsageError: It has no name, or no key that can be one.
        BodyTooLargeError: Its body has more than *max_body* bytes.
        EncodeError: Its body cannot be written.
    """
    if declared is not None:
        name = declared.name if name is None else name
        key = declared.key_of(event) if key is None else key
        version, kind = declared.version, kind or declared.kind
        if codec is None:
            content_type, data = declared.content_type, declared.encode(event)
        else:
            content_type, data = codec.content_type, declared.encode(event, codec)
    elif name is None:
        raise nameless(event)
    else:
        version, kind, codec = 1, kind or "event", codec or JSON
        content_type, data = codec.content_type, None if event is None else codec.encode(event)
    if data is not None and len(data) > max_body:
        raise BodyTooLargeError(name, size=len(data), limit=max_body)
    return Encoded(name, key, version, kind, content_type, data)


def nameless(event: object) -> UsageError:
    """What is to be said of an event without a name."""
    return UsageError(
        f"a {type(event).__name__} has no event name; declare its class as an event, or give name="
    )


def enveloped(encoded: Encoded, now_us: int, source: str | None, headers: Mapping[str, str] | None) -> Meta:
    """The envelope of an event made now, with the message being handled as its cause. Raises `UsageError`."""
    meta = Meta(now_us, source, encoded.key, encoded.version, encoded.kind, encoded.content_type)
    if headers:
        meta.headers = _checked(headers)
    if (cause := CURRENT_MESSAGE.get()) is not None:
        meta.causation = cause.id
        meta.correlation = cause.meta.correlation or cause.id
    return meta


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(
                f"header {name!r} is {value!r}; headers are strings, put other values into the body"
            )
    return dict(headers)
