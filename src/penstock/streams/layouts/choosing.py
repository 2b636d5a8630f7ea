"""Which stream has which layout."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from penstock.codec import Codec
from penstock.errors import UndecodableEntryError, UsageError
from penstock.message import Message, Meta
from penstock.streams.layouts.abc import EntryReader, Layout
from penstock.streams.layouts.beeorm import BEEORM
from penstock.streams.layouts.cloudevents import CLOUDEVENTS
from penstock.streams.layouts.laravel_streamer import LARAVEL_STREAMER
from penstock.streams.layouts.native import NATIVE
from penstock.streams.layouts.streamerson import STREAMERSON
from penstock.streams.partitions import declared_of

__all__ = ["LAYOUTS", "Layouts", "UnknownLayout", "allowed_codec"]

LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {layout.name: layout for layout in (NATIVE, LARAVEL_STREAMER, BEEORM, STREAMERSON, CLOUDEVENTS)}
)
"""The layouts that come with Penstock, by the names that settings call them."""


def allowed_codec(layout: Layout, wanted: Codec) -> Codec:
    """What a body is written by: the codec *wanted* where the layout carries its content type, else the layout's."""
    if not layout.codecs or any(wanted.content_type == each.content_type for each in layout.codecs):
        return wanted
    return layout.codecs[0]


_MOST_NAMES: Final = 10_000
"""Of so many streams it is remembered what they are: shards may be many."""


class UnknownLayout:
    """Stands for a layout that code declares, where that code is not loaded: its entries cannot be read here."""

    codecs: tuple[Codec, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """Raises `UsageError`."""
        raise UsageError(f"{name!r} cannot be written: {self._reason()}")

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """Raises `UndecodableEntryError`."""
        raise UndecodableEntryError(stream, raw_entry_id.decode("ascii", "replace"), self._reason())

    def _reason(self) -> str:
        return f"layout {self.name!r} is declared by code that is not loaded here; name its app"


class Layouts:
    """The layout of every stream: by its name where one is declared, else *default*.

    A shard of a declared stream, and a partition of one of those in *partitioned*, has the layout of the whole.
    """

    def __init__(
        self,
        by_stream: Mapping[str, Layout] | None = None,
        *,
        default: Layout = NATIVE,
        partitioned: Collection[str] = (),
    ) -> None:
        self._by_stream = dict(by_stream or {})
        self._default = default
        self._partitioned = frozenset(partitioned)
        self._found: dict[str, Layout] = {}

    def of(self, stream: str) -> Layout:
        """The layout of *stream*."""
        if not self._by_stream:
            return self._default
        found = self._found.get(stream)
        if found is None:
            found = declared_of(stream, self._by_stream, self._partitioned) or self._default
            if len(self._found) < _MOST_NAMES:
                self._found[stream] = found
        return found

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry of *stream*. Raises `UndecodableEntryError`."""
        return self.of(stream).read(stream, raw_entry_id, fields)

    @property
    def reader(self) -> EntryReader:
        """What reads entries of all streams: this, or the one layout itself where no stream has another."""
        return self if self._by_stream else self._default
