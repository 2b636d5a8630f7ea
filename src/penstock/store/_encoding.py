"""Users' events become `NewEvent`: names, keys and headers checked, bodies encoded, the stream chosen."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypedDict

from penstock.codec import Codec
from penstock.envelope import Declarations, encode, enveloped
from penstock.errors import UsageError
from penstock.message import new_event_ids
from penstock.store.abc import ANY, Append, Expected, ExpectedVersion, NewEvent

__all__ = ["AppendSaid", "EventEncoder", "check_name", "names_of"]

_LONGEST: Final = 1024
"""Characters of a stream, an id, a name or a key; PostgreSQL's indexes take no more than some 2,700 bytes."""
_MOST_NAMES: Final = 1000
"""So many names of events are remembered."""


class AppendSaid(TypedDict, total=False):
    """What a caller may say about events that are appended; see `EventStore.append`."""

    event_stream: str | None
    expected_version: Expected
    name: str | None
    key: str | None
    kind: str | None
    headers: Mapping[str, str] | None
    codec: Codec | None
    event_id: str | None
    owner: str | None


class EventEncoder:
    """Encodes for one store."""

    def __init__(
        self,
        *,
        source: str | None = None,
        max_body: int = 1024 * 1024,
        time_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._source = source
        self._max_body = max_body
        self._time_us = time_us
        self._declarations = Declarations()
        self._names: set[str] = set()
        """Names of events that were found to be in order."""

    def append(
        self,
        events: Sequence[object],
        *,
        event_stream: str | None = None,
        expected_version: Expected = ANY,
        name: str | None = None,
        key: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        event_id: str | None = None,
        owner: str | None = None,
    ) -> Append:
        """Events that go in together. Raises `UsageError`, `BodyTooLargeError`, `EncodeError`."""
        if event_id is not None and len(events) > 1:
            raise UsageError(
                f"one event id for {len(events)} events; append them one by one, or leave event_id out"
            )
        if event_id is not None:
            check_name("event id", event_id)
        if headers:
            for header in headers.items():
                for text in header:
                    _check_text("header", str(text))
        now = self._time_us()
        ids = new_event_ids(len(events), now) if event_id is None else [event_id]
        encoded = tuple(
            [
                event
                if isinstance(event, NewEvent)
                else self._new_event(event, id_, now, event_stream, name, key, kind, headers, codec)
                for event, id_ in zip(events, ids, strict=True)
            ]
        )
        if expected_version is not ANY:
            _check_expected(expected_version, encoded)
        return Append(encoded, expected_version, owner)

    def _new_event(
        self,
        event: object,
        event_id: str,
        now_us: int,
        stream: str | None,
        name: str | None,
        key: str | None,
        kind: str | None,
        headers: Mapping[str, str] | None,
        codec: Codec | None,
    ) -> NewEvent:
        declared = self._declarations.of(type(event))
        encoded = encode(event, declared, name, key, kind, codec, self._max_body)
        name, key = encoded.name, encoded.key
        meta = enveloped(encoded, now_us, self._source, headers)
        if stream is None:
            category = declared.category if declared is not None else name.rpartition(".")[0] or name
            stream = _stream_of(category, key, name)
        # Most events have the name of one before and a stream in which nothing is remarkable.
        if type(name) is not str or name not in self._names:
            check_name("event name", name)
            if len(self._names) < _MOST_NAMES:
                self._names.add(name)
        if (
            type(stream) is not str
            or not 0 < len(stream) < _LONGEST
            or not stream.isascii()
            or "\0" in stream
        ):
            check_name("event stream", stream)
        if key is not None and (
            type(key) is not str or len(key) >= _LONGEST or not key.isascii() or "\0" in key
        ):
            check_name("key", key, may_be_empty=True)
        return NewEvent(stream, event_id, name, meta, encoded.data)


def check_name(what: str, text: str, *, may_be_empty: bool = False) -> str:
    """*text*, if it can be a name in every store. Raises `UsageError`."""
    if not isinstance(text, str) or (not text and not may_be_empty):
        raise UsageError(f"{what} {text!r} is no name; a name is a text with at least one character")
    if len(text) > _LONGEST:
        raise UsageError(f"{what} {text[:40]!r}... has {len(text):,} characters; {_LONGEST} are allowed")
    _check_text(what, text)
    return text


def names_of(events: Iterable[str | type], declarations: Declarations) -> tuple[str, ...]:
    """Event names, given as such or by classes. Raises `UsageError`."""
    found: list[str] = []
    for each in events:
        declared = None if isinstance(each, str) else declarations.of(each)
        if declared is None and not isinstance(each, str):
            raise UsageError(f"{each!r} is no event; give a name, or a class that is declared as one")
        found.append(declared.name if declared is not None else str(each))
    return tuple(dict.fromkeys(found))


def _check_text(what: str, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{what} {text!r} holds a NUL, which databases refuse; leave it out")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as failure:
            raise UsageError(f"{what} {text!r} is no text that can be written: {failure}") from failure


def _stream_of(category: str, key: str | None, name: str) -> str:
    if key is None:
        return category
    if "-" in category:
        raise UsageError(
            f"{name!r} is of category {category!r}, and in a stream's name the category ends at the first '-'; "
            "declare the event with a category= without one, or give event_stream="
        )
    return f"{category}-{key}"


def _check_expected(expected: Expected, events: Sequence[NewEvent]) -> None:
    if expected is ANY:
        return
    if not isinstance(expected, ExpectedVersion) and (
        isinstance(expected, bool) or not isinstance(expected, int)
    ):
        raise UsageError(
            f"expected_version is {expected!r}; give the number of events, or ANY, NO_STREAM, EXISTS"
        )
    if isinstance(expected, int) and expected < 0:
        raise UsageError(f"expected_version is {expected}; a stream without events is at version 0")
    streams = dict.fromkeys(event.stream for event in events)
    if len(streams) > 1:
        shown = ", ".join(list(streams)[:5])
        raise UsageError(
            f"expected_version is said of one event stream, and these are events of {len(streams)}: {shown}; "
            "append them apart, or name one with event_stream="
        )
