"""The envelope: what every event carries besides its body, and the message a reader gets.

Identity is the event id, a UUIDv7 (RFC 9562 section 5.7); entry ids and positions are places and may change.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

import msgspec

from penstock.codec import codec_for
from penstock.errors import DecodeError, MalformedEntryIdError
from penstock.event._declaring import declaration
from penstock.position import EntryId

__all__ = ["MISSING", "Message", "Meta", "new_event_id", "new_event_ids"]

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""No default was given: a missing key raises `KeyError`."""


class Meta(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of the envelope written as one JSON text: readable without touching the body."""

    time: int
    """When the event was made, microseconds since the Unix epoch."""
    source: str | None = None
    """The app that emitted it."""
    key: str | None = None
    """What orders and shards it, mostly the id of one entity."""
    version: int = 1
    """The version of the body's schema."""
    kind: str = "event"
    """``event``, ``notification``, ``command``, or a word of your own."""
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    correlation: str | None = None
    """The event id that began the conversation."""
    causation: str | None = None
    """The event id of the message that was being handled when this one was emitted."""
    original_id: str | None = None
    """The entry id it had first, when it was put back from an archive."""

    @property
    def first_entry_id(self) -> EntryId | None:
        """`original_id` as a place; ``None`` without one, and for what is no entry id."""
        try:
            return None if self.original_id is None else EntryId.parse(self.original_id)
        except MalformedEntryIdError:
            return None


def new_event_ids(count: int, time_us: int) -> list[str]:
    """Make *count* UUIDv7 for events made at *time_us* (microseconds since the Unix epoch), ascending within the call.

    The 12 bits after the version hold the time below a millisecond and then a counter, as RFC 9562 section 6.2
    allows; the last 60 bits are random from the operating system, so that forked processes never repeat each other.
    """
    ms, rest_us = divmod(time_us, 1000)
    step = rest_us * 4096 // 1000
    random = os.urandom(8 * count).hex()
    head = _id_head(ms)
    ids: list[str] = []
    for at in range(0, 16 * count, 16):
        ids.append(f"{head}{step:03x}-8{random[at : at + 3]}-{random[at + 3 : at + 15]}")
        step += 1
        if step == 4096:
            # A batch that needs more than a millisecond has runs ahead of the clock, which keeps its ids ascending.
            ms, step = ms + 1, 0
            head = _id_head(ms)
    return ids


def _id_head(ms: int) -> str:
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7"


def new_event_id() -> str:
    """Make one UUIDv7 for an event made now."""
    return new_event_ids(1, time.time_ns() // 1000)[0]


class Message:
    """One event as it was delivered: envelope read, body decoded only when asked for.

    `id` is the event id, `name` the event's name, `stream` and `entry_id` where it stood, `meta` the rest of the
    envelope. `data` is the body's bytes, ``None`` when the event has no body (which is not the same as a body that
    says null). `fence` is the fencing number of the lease under which an ordered consumer works, else ``None``.
    """

    __slots__ = (
        "_entry_id",
        "_id",
        "_payload",
        "attempt",
        "data",
        "fence",
        "meta",
        "name",
        "raw_entry_id",
        "stream",
    )

    def __init__(
        self,
        id: str | bytes,  # noqa: A002  the field's own word
        name: str,
        stream: str,
        raw_entry_id: bytes,
        meta: Meta,
        data: bytes | None,
        attempt: int = 1,
        fence: int | None = None,
    ) -> None:
        self._id = id
        self.name = name
        self.stream = stream
        self.raw_entry_id = raw_entry_id
        self.meta = meta
        self.data = data
        self.attempt = attempt
        """1 on first handling, 2 on the first retry, and so on."""
        self.fence = fence
        self._entry_id: EntryId | None = None
        self._payload: Any = MISSING

    @property
    def id(self) -> str:
        """The event id, a UUIDv7 as text."""
        if isinstance(self._id, bytes):
            self._id = self._id.decode("utf-8", "replace")
        return self._id

    @property
    def entry_id(self) -> EntryId:
        """The place in the stream."""
        if self._entry_id is None:
            self._entry_id = EntryId.parse(self.raw_entry_id)
        return self._entry_id

    @property
    def original_id(self) -> EntryId | None:
        """The entry id it had first, when it was put back from an archive; else ``None``."""
        return self.meta.first_entry_id

    @property
    def time(self) -> datetime:
        """When the event was made, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.meta.time)

    @property
    def key(self) -> str | None:
        """What orders and shards the event."""
        return self.meta.key

    @property
    def source(self) -> str | None:
        """The app that emitted it."""
        return self.meta.source

    @property
    def version(self) -> int:
        """The version of the body's schema."""
        return self.meta.version

    @property
    def kind(self) -> str:
        """``event``, ``notification``, ``command``, or a word of the emitter's own."""
        return self.meta.kind

    @property
    def headers(self) -> Mapping[str, str]:
        """Strings beside the body, readable without decoding it."""
        return self.meta.headers

    @property
    def content_type(self) -> str:
        """How the body is written."""
        return self.meta.content_type

    @property
    def payload(self) -> Any:
        """The body as plain Python values; ``None`` when there is no body. Raises `CodecError`."""
        if self._payload is MISSING:
            self._payload = None if self.data is None else codec_for(self.meta.content_type).decode(self.data)
        return self._payload

    def decode(self, type_: type[T]) -> T:
        """The body as *type_*: an event class (older versions are upcast first) or anything msgspec can build.

        Raises:
            CodecError: The body does not fit.
        """
        if (declared := declaration(type_)) is not None:
            meta = self.meta
            decoded: T = declared.decode(self.data, version=meta.version, content_type=meta.content_type)
            return decoded
        if self.data is None:
            raise DecodeError(
                self.meta.content_type, f"{self.name!r} has no body to read a {type_.__name__} from"
            )
        value: T = codec_for(self.meta.content_type).decode(self.data, type_)
        return value

    def get(self, path: str, default: Any = MISSING) -> Any:
        """The value at a dotted *path* of the payload: ``get("customer.address.city")``; digits index lists.

        Raises:
            KeyError: Nothing is there and no *default* was given.
        """
        value: Any = self.payload
        for part in path.split("."):
            try:
                value = value[int(part) if isinstance(value, list) else part]
            except (KeyError, IndexError, TypeError, ValueError):
                if default is MISSING:
                    raise KeyError(f"{path!r} is not in the payload of {self.name!r}") from None
                return default
        return value

    def only(self, *keys: str) -> dict[str, Any]:
        """The payload reduced to *keys*; those it lacks are left out."""
        payload = self._mapping()
        return {key: payload[key] for key in keys if key in payload}

    def without(self, *keys: str) -> dict[str, Any]:
        """The payload less *keys*."""
        return {key: value for key, value in self._mapping().items() if key not in keys}

    def _mapping(self) -> dict[str, Any]:
        if not isinstance(self.payload, dict):
            raise DecodeError(
                self.content_type, f"the payload of {self.name!r} has no keys; use `payload` as it is"
            )
        return cast("dict[str, Any]", self.payload)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over kind, name, source and body: equal for messages that say the same.

        Each part is preceded by its length, so that no two different messages run together into one text.
        """
        digest = hashlib.sha256()
        for part in (self.kind.encode(), self.name.encode(), (self.source or "").encode(), self.data or b""):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Message {self.name} {self.raw_entry_id.decode()} of {self.stream}, id {self.id}>"
