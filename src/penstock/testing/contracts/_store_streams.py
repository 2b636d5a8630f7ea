"""Streams: which there are, what is said about them, and letting go of their events."""

from datetime import timedelta

import pytest

from penstock.errors import UsageError
from penstock.store.abc import NO_STREAM, Conflict, EventFilter, StoreBackend, StreamInfo, StreamMetadata
from penstock.testing.contracts._store_common import added, appended, ids, new, numbered, read_all

__all__ = ["StreamsContract"]

_NAMES = sorted(
    ["order", "order-1", "order-10", "order-2", "Order-1", "order-ü", "orderly-1", "order,1", "a-1", "ü-1"]
)


class StreamsContract:
    """Event streams as such."""

    async def test_a_stream_says_what_it_is(self, store: StoreBackend) -> None:
        """Version, number of events, first and last place; nothing for one that never was."""
        assert await store.stream("order-1") is None
        places = await added(store, new("order-2"), *numbered(3), new("order-2"))
        assert await store.stream("order-1") == StreamInfo(
            "order-1",
            version=3,
            events=3,
            first_position=places[1].position,
            last_position=places[3].position,
        )

    async def test_streams_are_listed_by_name(self, store: StoreBackend) -> None:
        """In the order of their characters' code points, page by page, each once."""
        await added(store, *(new(name) for name in _NAMES), *(new(name) for name in _NAMES[::-1]))
        assert [info.name for info in await store.streams()] == _NAMES
        found: list[str] = []
        while page := await store.streams(after=found[-1] if found else "", limit=3):
            found += [info.name for info in page]
        assert found == _NAMES
        assert {info.events for info in await store.streams()} == {2}

    async def test_streams_are_listed_by_category(self, store: StoreBackend) -> None:
        """Those whose name is the category, or begins with it and a dash."""
        await added(store, *(new(name) for name in _NAMES))
        wanted = ["order", "order-1", "order-10", "order-2", "order-ü"]
        assert [info.name for info in await store.streams(category="order")] == wanted
        assert [
            info.name for info in await store.streams(category="order", after="order-1", limit=2)
        ] == wanted[2:4]
        assert await store.streams(category="orde") == []

    async def test_metadata_is_kept(self, store: StoreBackend) -> None:
        """What is said is there, in place of what was said before, also for a stream without events."""
        said = StreamMetadata(
            "totals", 10, timedelta(days=3, microseconds=7), {"note": ["ü", 1, None], "a": {"b": 1.5}}
        )
        await store.set_metadata("order-1", said)
        info = await store.stream("order-1")
        assert info is not None
        assert (info.metadata, info.version, info.events, info.first_position) == (said, 0, 0, None)
        await store.set_metadata("order-1", StreamMetadata(max_count=3))
        await added(store, new())
        info = await store.stream("order-1")
        assert info is not None
        assert (info.metadata, info.version) == (StreamMetadata(max_count=3), 1)

    async def test_streams_with_rules_are_found(self, store: StoreBackend) -> None:
        """Those alone that let something go."""
        await added(store, *(new(f"order-{number}") for number in range(6)))
        await store.set_metadata("order-1", StreamMetadata(max_count=3))
        await store.set_metadata("order-2", StreamMetadata(owner="totals"))
        await store.set_metadata("order-4", StreamMetadata(max_age=timedelta(days=1)))
        assert [info.name for info in await store.streams(with_rules=True)] == ["order-1", "order-4"]
        assert [info.name for info in await store.streams(with_rules=True, after="order-1")] == ["order-4"]

    # -- letting go ---------------------------------------------------------------------------------------------

    async def test_the_beginning_of_a_stream_is_deleted(self, store: StoreBackend) -> None:
        """Up to a version; what is left keeps its versions and places, and other streams are not touched."""
        await added(store, *numbered(5), *numbered(5, "order-2"))
        before = {event.id: event.position for event in await read_all(store)}
        assert await store.delete("order-1", through=3) == 3
        left = await store.read_stream("order-1", limit=10)
        assert [(event.stream_version, event.position) for event in left] == [
            (4, before["order-1/3"]),
            (5, before["order-1/4"]),
        ]
        info = await store.stream("order-1")
        assert info is not None
        assert (info.version, info.events, info.first_position) == (5, 2, before["order-1/3"])
        assert len(await store.read_stream("order-2", limit=10)) == 5
        assert await store.delete("order-1", through=3) == 0
        assert await store.delete("nothing") == 0

    async def test_deletion_is_done_in_bounded_pieces(self, store: StoreBackend) -> None:
        """At most *limit* events a call, the oldest first."""
        await added(store, *numbered(5))
        assert [await store.delete("order-1", limit=2) for _ in range(4)] == [2, 2, 1, 0]

    @pytest.mark.covers("STORE-2")
    async def test_versions_go_on_after_a_deletion(self, store: StoreBackend) -> None:
        """A stream whose events are all gone is no new one, so nobody who decided by old ones is mistaken."""
        await added(store, *numbered(3))
        assert await store.delete("order-1") == 3
        info = await store.stream("order-1")
        assert info is not None
        assert (info.version, info.events, info.deleted) == (3, 0, False)
        assert await appended(store, new(), expected=NO_STREAM) == Conflict("order-1", "version", actual=3)
        [place] = await added(store, new(), expected=3)
        assert place.stream_version == 4
        assert [info.name for info in await store.streams()] == ["order-1"]

    async def test_a_position_is_never_given_twice(self, store: StoreBackend) -> None:
        """Not even when the newest events are deleted, and not across a restart."""
        [*_, last] = await added(store, *numbered(3))
        await store.delete("order-1")
        await store.close()
        await store.open()
        assert (await store.horizon()).last >= last.position
        [place] = await added(store, new("order-2"))
        assert place.position > last.position
        assert ids(await read_all(store, EventFilter(), after=last.position)) == [place.event_id]

    async def test_a_stream_is_deleted_for_good(self, store: StoreBackend) -> None:
        """Its events go, and its name is spent; metadata stays."""
        await store.set_metadata("order-1", StreamMetadata(max_count=3))
        await added(store, *numbered(3))
        assert await store.delete("order-1", for_good=True) == 3
        info = await store.stream("order-1")
        assert info is not None
        assert (info.deleted, info.version, info.events, info.metadata.max_count) == (True, 3, 0, 3)

    async def test_a_name_can_be_spent_before_it_is_used(self, store: StoreBackend) -> None:
        """Deleting for good what never was keeps anybody from beginning it."""
        await store.delete("order-1", for_good=True)
        assert await appended(store, new()) == Conflict("order-1", "deleted")

    async def test_a_part_is_not_deleted_for_good(self, store: StoreBackend) -> None:
        """The two contradict each other."""
        with pytest.raises(UsageError):
            await store.delete("order-1", through=3, for_good=True)
