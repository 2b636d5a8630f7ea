"""How far a relay has come into each stream, as its source store has it noted.

The server has its own mark beside each stream, moved by the script that adds the entries, and that one decides. What is
noted here lags behind it, so that a server whose mark is lower has lost something.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import uuid4

import msgspec

from penstock.streams.abc import RelayMark

__all__ = ["Place", "Places", "lost"]

_MOST_STREAMS: Final = 10_000


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far the relay has come into one stream."""

    since: int
    """Before the relay's first event there."""
    position: int
    epoch: int = 0
    """The layout of a partitioned stream; 0 without partitions."""


class Places(msgspec.Struct):
    """What a relay to streams knows of where it is. Its position in the store is not here but in its checkpoint."""

    token: str = msgspec.field(default_factory=lambda: uuid4().hex[:16])
    """Tells this store's relay from one of the same name that reads another store."""
    streams: dict[str, Place] = msgspec.field(default_factory=dict[str, Place])

    @classmethod
    def read(cls, state: bytes | None) -> "Places":
        """What was noted; a new token where nothing was."""
        return cls() if state is None else msgspec.json.decode(state, type=Places)

    def written(self) -> bytes:
        """As it is noted."""
        return msgspec.json.encode(self)

    def at(self, stream: str, epoch: int = 0) -> int:
        """How far the relay has come into *stream* under a layout; 0 if it has not begun there."""
        place = self.streams.get(stream)
        return place.position if place is not None and place.epoch == epoch else 0

    def move(self, stream: str, position: int, *, first: int, epoch: int = 0) -> None:
        """Note that the relay has come to *position* in *stream*, with *first* as its lowest event of this step."""
        place = self.streams.pop(stream, None)
        since = place.since if place is not None and place.epoch == epoch else first - 1
        # The streams that were written to last are the last ones: the first are let go of when there are too many.
        self.streams[stream] = Place(since, position, epoch)
        while len(self.streams) > _MOST_STREAMS:
            del self.streams[next(iter(self.streams))]

    def rewind(self, stream: str, reached: int) -> int:
        """Note that the server has come to *reached* in *stream*, no further; from where on it is to be sent again."""
        place = self.streams.pop(stream, None)
        since = max(reached, place.since if place is not None else 0)
        if place is not None and reached:
            self.streams[stream] = Place(place.since, reached, place.epoch)
        return since


def lost(places: Places, marks: Mapping[str, Iterable[RelayMark]]) -> dict[str, int]:
    """The streams of which the server has lost something, each with the position that it has still come to (or 0)."""
    found: dict[str, int] = {}
    for stream, place in places.streams.items():
        reached = max(
            (mark.position for mark in marks.get(stream, ()) if mark.epoch == place.epoch), default=0
        )
        if any(mark.epoch > place.epoch for mark in marks.get(stream, ())):
            continue
        if reached < place.position:
            found[stream] = reached
    return found
