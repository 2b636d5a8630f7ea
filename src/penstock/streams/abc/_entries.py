"""Entries as the server keeps them, how one is added, and what a stream looks like."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from penstock.position import EntryId

__all__ = [
    "AppendOutcome",
    "Batch",
    "Cap",
    "Capabilities",
    "Condition",
    "Dedupe",
    "Index",
    "NewEntry",
    "RawEntry",
    "RawId",
    "StreamInfo",
]

RawId: TypeAlias = bytes
"""An entry id as the server writes it."""

RawEntry: TypeAlias = list[Any]
"""``[id, fields]``: the id as bytes, the fields as a flat list of bytes, or ``None`` when the entry is gone."""

Batch: TypeAlias = tuple[str, list[RawEntry]]
"""A stream's name and the entries that one read brought from it, in id order."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How large a stream may grow; enforced by the script that adds the entry.

    A capped stream never exceeds `max_entries`. What a reader of the stream still needs (see `RemovalStore`: groups,
    registered ones that are not there yet, cursors, relays) is not removed: the append is refused with
    `StreamFullError`, unless `remove_needed` says that the cap comes first. `max_age` removes older entries up to what
    is needed, and never refuses. Exact, not approximate.
    """

    max_entries: int | None = None
    max_age: timedelta | None = None
    remove_needed: bool = False


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Write an entry once per `token` within `window`: a second append answers with the first one's entry id."""

    token: str
    window: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Index:
    """Where an entry belongs in the history of one entity: the event's name and the entity's identifier.

    `place` is where the event stood first, for one that is put back: it takes its old place in the history again.
    """

    name: str
    identifier: str
    place: EntryId | None = None
    if_known: bool = False
    """Only where the entity has a history already: for who puts an event back without knowing its declaration."""


class NewEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry to be added: flat names and values, and how."""

    stream: str
    fields: Sequence[bytes]
    entry_id: EntryId | None = None
    cap: Cap | None = None
    dedupe: Dedupe | None = None
    epoch: int | None = None
    """For a partition of a stream: the layout that chose it. Refused with `RepartitioningError` when another holds."""
    index: Index | None = None
    """Also note the entry in the history of its entity, in the same step."""


class Condition(Enum):
    """How an append ended."""

    WRITTEN = "written"
    NOT_WRITTEN = "not written"
    UNKNOWN = "unknown"
    """The connection broke after the command had left: the entry may be there."""


class AppendOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one entry of `StreamBroker.append_many`."""

    condition: Condition
    entry_id: RawId | None = None
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream in one look. `first` and `last` are the ends present, `last_id` the highest id ever given."""

    name: str
    length: int
    first: EntryId | None
    last: EntryId | None
    last_id: EntryId
    groups: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server is and can, probed at connect. `commands` are lower-case names it knows (of those we may use)."""

    product: str
    version: tuple[int, int, int]
    commands: frozenset[str]
    maxmemory_policy: str | None = None
    """``None`` when the server does not tell (``CONFIG`` denied)."""
    appendfsync: str | None = None
    """``"always"``, ``"everysec"``, ``"no"``; ``"off"`` without an append-only file; ``None`` when not told."""
    cluster: bool = False
