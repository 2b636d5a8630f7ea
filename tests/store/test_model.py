"""Random appends, deletions and reads beside a model in plain Python: after every step both say the same."""

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.message import Meta
from penstock.store import (
    ANY,
    EXISTS,
    NO_STREAM,
    Append,
    Appended,
    Conflict,
    EventFilter,
    Expected,
    NewEvent,
    StreamMetadata,
    category_of,
)
from penstock.store._sqlite import SqliteBackend

T = TypeVar("T")

STREAMS = st.sampled_from(["order-1", "order-2", "order", "customer-1"])
IDS = st.sampled_from([f"id{number}" for number in range(40)])
NAMES = st.sampled_from(["placed", "paid"])
EVENTS = st.tuples(STREAMS, IDS, NAMES)
EXPECTED = st.one_of(st.sampled_from([ANY, NO_STREAM, EXISTS]), st.integers(0, 12))


class Kept:
    """What the model knows of one stream."""

    def __init__(self) -> None:
        self.version = 0
        self.owner: str | None = None
        self.deleted = False


class Stores(RuleBasedStateMachine):
    """A store in a file, and what it should say."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.store = SqliteBackend("local", Path(self.folder.name) / "events.db")
        self.run(self.store.open())
        self.events: list[tuple[int, str, int, str, str]] = []
        """Position, stream, version, id, name; those that are there."""
        self.streams: dict[str, Kept] = {}
        self.last = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it now."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        """Close everything."""
        self.run(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()

    def of(self, stream: str) -> Kept:
        """What is known of a stream."""
        return self.streams.setdefault(stream, Kept())

    def decide(
        self, events: list[tuple[str, str, str]], expected: Expected, owner: str | None
    ) -> list[Appended] | Conflict:
        """What an append does to the model, and is answered."""
        known = {id_: (position, stream, version) for position, stream, version, id_, _ in self.events}
        fresh = [event for event in events if event[1] not in known]
        for stream, _, _ in fresh:
            kept = self.of(stream)
            if kept.deleted:
                return Conflict(stream, "deleted")
            if kept.owner is not None and kept.owner != owner:
                return Conflict(stream, "protected", owner=kept.owner)
            fits = {ANY: True, NO_STREAM: kept.version == 0, EXISTS: kept.version > 0}
            if not (fits[expected] if not isinstance(expected, int) else kept.version == expected):
                return Conflict(stream, "version", actual=kept.version)
        places: list[Appended] = []
        for stream, id_, name in events:
            is_new = id_ not in known
            if is_new:
                self.of(stream).version += 1
                self.last += 1
                known[id_] = self.last, stream, self.of(stream).version
                self.events.append((self.last, stream, self.of(stream).version, id_, name))
            position, where, version = known[id_]
            places.append(Appended(id_, where, position, version, is_new))
        return places

    @rule(events=st.lists(EVENTS, max_size=5), owner=st.sampled_from([None, "totals"]))
    def append(self, events: list[tuple[str, str, str]], owner: str | None) -> None:
        """Whatever is there."""
        new = tuple(NewEvent(stream, id_, name, Meta(time=1), b"1") for stream, id_, name in events)
        assert self.run(self.store.append(Append(new, ANY, owner))) == self.decide(events, ANY, owner)

    @rule(stream=STREAMS, events=st.lists(st.tuples(IDS, NAMES), max_size=4), expected=EXPECTED)
    def append_expecting(self, stream: str, events: list[tuple[str, str]], expected: Expected) -> None:
        """To one stream that is to be at a version."""
        new = tuple(NewEvent(stream, id_, name, Meta(time=1), b"1") for id_, name in events)
        planned = [(stream, id_, name) for id_, name in events]
        assert self.run(self.store.append(Append(new, expected))) == self.decide(planned, expected, None)

    @rule(appends=st.lists(st.tuples(STREAMS, IDS, EXPECTED), min_size=2, max_size=8))
    def append_at_the_same_time(self, appends: list[tuple[str, str, Expected]]) -> None:
        """In one group, each decided after those before it."""

        async def all_of_them() -> list[list[Appended] | Conflict]:
            calls = [
                self.store.append(Append((NewEvent(stream, id_, "placed", Meta(time=1), b"1"),), expected))
                for stream, id_, expected in appends
            ]
            return await asyncio.gather(*calls)

        outcomes = self.run(all_of_them())
        assert outcomes == [
            self.decide([(stream, id_, "placed")], expected, None) for stream, id_, expected in appends
        ]

    @rule(stream=STREAMS, through=st.one_of(st.none(), st.integers(0, 12)), limit=st.integers(1, 5))
    def delete(self, stream: str, through: int | None, limit: int) -> None:
        """Some of the oldest."""
        gone = [
            event for event in self.events if event[1] == stream and (through is None or event[2] <= through)
        ]
        assert self.run(self.store.delete(stream, through=through, limit=limit)) == len(gone[:limit])
        self.events = [event for event in self.events if event not in gone[:limit]]

    @rule(stream=STREAMS)
    def delete_for_good(self, stream: str) -> None:
        """All, and the name with them."""
        if stream != "customer-1":
            return
        there = [event for event in self.events if event[1] == stream]
        assert self.run(self.store.delete(stream, for_good=True)) == len(there)
        self.events = [event for event in self.events if event[1] != stream]
        self.of(stream).deleted = True

    @rule(
        stream=STREAMS, owner=st.sampled_from([None, "totals"]), count=st.one_of(st.none(), st.integers(1, 5))
    )
    def set_metadata(self, stream: str, owner: str | None, count: int | None) -> None:
        """Change who may append."""
        metadata = StreamMetadata(owner, count, timedelta(days=1), {"a": [1]})
        self.run(self.store.set_metadata(stream, metadata))
        self.of(stream).owner = owner

    @rule()
    def reopen(self) -> None:
        """Another process goes on."""
        self.run(self.store.close())
        self.run(self.store.open())

    @rule(
        streams=st.sets(STREAMS),
        categories=st.sets(st.sampled_from(["order", "customer"])),
        names=st.sets(NAMES),
        after=st.integers(0, 20),
        through=st.one_of(st.none(), st.integers(0, 60)),
        limit=st.integers(1, 7),
        backwards=st.booleans(),
    )
    def read(
        self,
        streams: set[str],
        categories: set[str],
        names: set[str],
        after: int,
        through: int | None,
        limit: int,
        backwards: bool,
    ) -> None:
        """One page."""
        end = self.last if through is None else through
        fitting = [
            event
            for event in self.events
            if after < event[0] <= end
            and (not (streams or categories) or event[1] in streams or category_of(event[1]) in categories)
            and (not names or event[4] in names)
        ]
        wanted = EventFilter(tuple(streams), tuple(categories), tuple(names))
        page = self.run(
            self.store.read(wanted, after=after, through=through, limit=limit, backwards=backwards)
        )
        expected = fitting[::-1][:limit] if backwards else fitting[:limit]
        assert [(event.position, event.stream_version, event.id) for event in page.events] == [
            (position, version, id_) for position, _, version, id_, _ in expected
        ]
        if after < end and not backwards:
            assert page.through == (expected[-1][0] if len(expected) == limit else end)

    @invariant()
    def streams_are_as_they_should_be(self) -> None:
        """Versions, numbers and places of every stream; and the horizon."""
        for info in self.run(self.store.streams()):
            there = [event for event in self.events if event[1] == info.name]
            kept = self.of(info.name)
            assert (info.version, info.events, info.deleted) == (kept.version, len(there), kept.deleted)
            assert info.first_position == (there[0][0] if there else None)
            assert info.last_position == (there[-1][0] if there else None)
        assert self.run(self.store.horizon()).position == self.last


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
