"""Events of a store as entries of streams: the envelope stays as it is, the layout is that of the stream."""

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from penstock.errors import BodyTooLargeError, UsageError
from penstock.relays._choosing import bound_for
from penstock.relays.abc import RelayPlan
from penstock.store.abc import StoredEvent
from penstock.streams.abc import Index, RelayEntry
from penstock.streams.keys import Keys
from penstock.streams.layouts import Layout, Layouts
from penstock.streams.topics import split_shard

__all__ = ["Outbound", "Packing"]

_NAMES: Final = Keys()


class Outbound(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into a stream."""

    stream: str
    chooser: str
    """What chooses its partition, where the stream has any."""
    entry: RelayEntry
    size: int
    """Of its fields, in bytes."""


class Packing:
    """Makes entries of events, as *plan* says. *check_stream* raises for a stream that may not be written."""

    def __init__(
        self,
        plan: RelayPlan,
        *,
        layouts: Layouts,
        max_body: int,
        indexed: Collection[str] = (),
        check_stream: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._layouts = layouts
        self._max_body = max_body
        self._indexed = frozenset(indexed)
        self._check_stream = check_stream
        self._checked: set[str] = set()

    def pack(self, event: StoredEvent) -> Outbound | None:
        """The entry for an event; ``None`` for one that does not go.

        Raises:
            UsageError: Its stream or name cannot be written, or a function of the plan answers no name.
            BodyTooLargeError: Its body is larger than a stream may have.
            CodecError: The layout of its stream cannot carry it.
            UnregisteredStreamError: In strict mode, for a stream that is declared nowhere.
        """
        bound = bound_for(self._plan, event)
        if bound is None:
            return None
        stream, name = bound.stream, bound.name
        if stream not in self._checked:
            _NAMES.stream(stream)
            self._check_stream(stream)
            self._checked.add(stream)
        meta, data = event.meta, event.data
        layout = self._layouts.of(stream)
        if data is not None and not _is_carried(layout, meta.content_type):
            codec = layout.codecs[0]
            data = codec.encode(event.payload)
            meta = msgspec.structs.replace(meta, content_type=codec.content_type)
        if data is not None and len(data) > self._max_body:
            raise BodyTooLargeError(name, size=len(data), limit=self._max_body)
        try:
            fields = layout.pack(event.id, name, meta, data)
        except UnicodeEncodeError as failure:
            raise UsageError(f"name, key or a header of {name!r} cannot be written: {failure}") from failure
        return Outbound(
            stream,
            event.id if meta.key is None else meta.key,
            RelayEntry(event.position, event.id, fields, self._index(stream, event, name)),
            sum(map(len, fields)),
        )

    def _index(self, stream: str, event: StoredEvent, name: str) -> Index | None:
        if event.key is None:
            return None
        declared = self._plan.types.get(event.name)
        if declared is not None and declared.history:
            return Index(name, event.key)
        is_indexed = bool(self._indexed) and not self._indexed.isdisjoint((stream, split_shard(stream)[0]))
        return Index(name, event.key) if is_indexed else None


def _is_carried(layout: Layout, content_type: str) -> bool:
    return not layout.codecs or any(codec.content_type == content_type for codec in layout.codecs)
