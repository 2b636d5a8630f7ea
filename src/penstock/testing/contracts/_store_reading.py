"""Reading: by place, by stream, by what an event is; in pages that are bounded and lead on."""

from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.store.abc import EventFilter, Lane, NewEvent, StoreBackend, StoredEvent
from penstock.testing.contracts._store_common import added, ids, new, numbered, read_all

__all__ = ["ReadingContract"]

_MANY = 300


def _fits(event: StoredEvent, wanted: EventFilter) -> bool:
    sources = wanted.streams or wanted.categories
    in_source = event.stream in wanted.streams or event.category in wanted.categories
    return (
        (not sources or in_source)
        and (not wanted.names or event.name in wanted.names)
        and (not wanted.keys or event.key in wanted.keys)
        and all(event.headers.get(name) == value for name, value in wanted.headers.items())
        and (wanted.lane is None or wanted.lane.has(event.key, event.stream))
    )


def _varied() -> list[NewEvent]:
    """Events that differ in everything one can ask for."""
    return [
        new(
            ("order-1", "order-2", "customer-1", "order")[number % 4],
            f"v{number}",
            ("order.placed", "order.paid", 'name\'s "x"')[number % 3],
            key=(None, "k1", "k2", "ü")[number // 5 % 4],
            headers={"tenant": ("a", "b")[number % 2], 'q"uote': "1"} if number % 5 else {},
        )
        for number in range(_MANY)
    ]


class ReadingContract:
    """What comes out, and how."""

    @pytest.mark.covers("STORE-4")
    @pytest.mark.parametrize("limit", [1, 7, 1000])
    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"streams": ("order-1",)},
            {"streams": ("order-1", "customer-1")},
            {"streams": ("order-1", "order-1")},
            {"streams": ("nothing",)},
            {"categories": ("order",)},
            {"categories": ("order", "customer")},
            {"categories": ("nothing",)},
            {"streams": ("order-1", "customer-1"), "categories": ("order",)},
            {"names": ("order.placed",)},
            {"names": ("order.placed", 'name\'s "x"', "nothing")},
            {"names": ("nothing",)},
            {"keys": ("k1",)},
            {"keys": ("k1", "ü")},
            {"headers": {"tenant": "a"}},
            {"headers": {"tenant": "a", 'q"uote': "1"}},
            {"headers": {"tenant": "c"}},
            {"streams": ("order-2",), "names": ("order.paid",), "keys": ("k2",)},
            {"categories": ("order",), "headers": {"tenant": "b"}, "names": ("order.paid",)},
            {"lane": Lane(0, 3)},
            {"lane": Lane(2, 3), "categories": ("order",)},
            {"lane": Lane(1, 2), "streams": ("order-1", "customer-1"), "names": ("order.placed",)},
        ],
        ids=str,
    )
    async def test_a_filter_gives_what_fits_in_order(
        self, store: StoreBackend, wanted: dict[str, Any], limit: int
    ) -> None:
        """All of it, nothing else, each once, by position, whatever the size of the pages."""
        await added(store, *_varied())
        which = EventFilter(**wanted)
        expected = [event.id for event in await read_all(store) if _fits(event, which)]
        assert ids(await read_all(store, which, limit=limit)) == expected
        reader = store.reader()
        try:
            assert reader.count(which, after=0, through=reader.horizon().position) == len(expected)
        finally:
            reader.close()

    @pytest.mark.covers("STORE-4")
    @pytest.mark.parametrize(
        "wanted",
        [{}, {"categories": ("order",)}, {"streams": ("order-1", "order-2"), "names": ("order.paid",)}],
        ids=str,
    )
    @pytest.mark.parametrize("limit", [1, 7, 1000])
    async def test_backwards_is_the_same_the_other_way_round(
        self, store: StoreBackend, wanted: dict[str, Any], limit: int
    ) -> None:
        """The newest first, down to above the position that was given."""
        await added(store, *_varied())
        which = EventFilter(**wanted)
        expected = [event for event in await read_all(store, which) if event.position > 20]
        found: list[StoredEvent] = []
        through = (await store.horizon()).position
        while through > 20:
            page = await store.read(which, after=20, through=through, limit=limit, backwards=True)
            found += page.events
            assert 20 < page.through <= through
            through = page.through - 1
        assert ids(found) == ids(expected)[::-1]

    @pytest.mark.covers("STORE-4")
    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"streams": ("order-1",)},
            {"categories": ("order",)},
            {"streams": ("order-1", "x"), "names": ("order.placed",)},
        ],
        ids=str,
    )
    async def test_reading_begins_above_and_ends_at_the_places_given(
        self, store: StoreBackend, wanted: dict[str, Any]
    ) -> None:
        """Above *after*, up to *through* inclusive, whichever places these are; to the end without one."""
        places = await added(store, *numbered(10))
        positions = [place.position for place in places]
        which = EventFilter(**wanted)
        for first in range(10):
            for last in range(first + 1, 10):
                bounds: dict[str, Any] = {"after": positions[first], "through": positions[last], "limit": 100}
                page = await store.read(which, **bounds)
                assert [event.position for event in page.events] == positions[first + 1 : last + 1]
                assert page.through == positions[last]
                page = await store.read(which, **bounds, backwards=True)
                assert [event.position for event in page.events] == positions[first + 1 : last + 1][::-1]
        page = await store.read(which, after=positions[7], limit=100)
        assert [event.position for event in page.events] == positions[8:]
        assert page.through == (await store.horizon()).position

    async def test_a_page_says_how_far_it_came(self, store: StoreBackend) -> None:
        """A full page ends at its last event; another one, at the end of what was asked for, also an empty one."""
        places = await added(store, *numbered(4), *(new("customer-1") for _ in range(6)))
        last = places[-1].position
        page = await store.read(EventFilter(streams=("order-1",)), limit=2)
        assert page.through == places[1].position
        page = await store.read(EventFilter(streams=("order-1",)), after=places[1].position, limit=5)
        assert (len(page.events), page.through) == (2, last)
        page = await store.read(EventFilter(names=("nothing",)), limit=5)
        assert (len(page.events), page.through) == (0, last)
        page = await store.read(EventFilter(), after=last, limit=5)
        assert (len(page.events), page.through) == (0, last)

    async def test_an_empty_store_has_an_empty_page(self, store: StoreBackend) -> None:
        """Nothing, through nothing, forwards and backwards."""
        for backwards in (False, True):
            page = await store.read(EventFilter(), limit=5, backwards=backwards)
            assert (len(page.events), page.through) == (0, 0)
        assert (await store.horizon()).position == 0

    @pytest.mark.covers("STORE-4")
    async def test_what_fits_seldom_is_found_behind_much_else(self, store: StoreBackend) -> None:
        """One call looks at a bounded stretch; going on from where it came to finds what lies behind."""
        for begin in range(0, 22_000, 2_000):
            events = [new("log-1", f"l{begin + number}", "log.line") for number in range(2_000)]
            await added(store, *events)
        await added(store, new("log-1", "seldom", "log.seldom", key="k", headers={"a": "b"}))
        await added(store, new("log-1", "last", "log.line"))
        for wanted in (
            EventFilter(names=("log.seldom",)),
            EventFilter(keys=("k",)),
            EventFilter(headers={"a": "b"}),
            EventFilter(streams=("log-1",), names=("log.seldom",)),
            EventFilter(categories=("log",), streams=("other",), names=("log.seldom",)),
        ):
            assert ids(await read_all(store, wanted, limit=10)) == ["seldom"]

    async def test_many_streams_are_read_at_once(self, store: StoreBackend) -> None:
        """Events of hundreds of streams come merged into one order."""
        await added(store, *(new(f"order-{number % 700}", f"m{number}") for number in range(1400)))
        wanted = EventFilter(streams=tuple(f"order-{number}" for number in range(0, 700, 2)))
        assert ids(await read_all(store, wanted, limit=100)) == [f"m{number}" for number in range(0, 1400, 2)]

    # -- one stream ---------------------------------------------------------------------------------------------

    @pytest.mark.covers("STORE-4")
    async def test_a_stream_is_read_by_version(self, store: StoreBackend) -> None:
        """Above a version, up to one, at most so many, from either end."""
        await added(
            store,
            *(event for pair in zip(numbered(10), numbered(10, "order-2"), strict=True) for event in pair),
        )

        async def versions(limit: int = 100, **how: Any) -> list[int]:
            found = await store.read_stream("order-1", limit=limit, **how)
            assert {event.stream for event in found} <= {"order-1"}
            return [event.stream_version for event in found]

        assert await versions() == list(range(1, 11))
        assert await versions(after=7) == [8, 9, 10]
        assert await versions(after=2, through=5) == [3, 4, 5]
        assert await versions(limit=3) == [1, 2, 3]
        assert await versions(after=3, limit=2) == [4, 5]
        assert await versions(backwards=True, limit=3) == [10, 9, 8]
        assert await versions(backwards=True, after=2, through=5) == [5, 4, 3]
        assert await versions(after=10) == []
        assert await store.read_stream("nothing", limit=5) == []

    @pytest.mark.covers("STORE-4")
    async def test_a_stream_is_not_another_whose_name_begins_alike(self, store: StoreBackend) -> None:
        """Names are compared whole, and with regard to case."""
        await added(store, new("order-1", "a"), new("order-10", "b"), new("Order-1", "c"), new("order", "d"))
        assert ids(await store.read_stream("order-1", limit=9)) == ["a"]
        assert ids(await read_all(store, EventFilter(categories=("order",)))) == ["a", "b", "d"]
        assert ids(await read_all(store, EventFilter(categories=("Order",)))) == ["c"]

    async def test_a_limit_below_one_is_refused(self, store: StoreBackend) -> None:
        """A page without room would never lead on."""
        with pytest.raises(UsageError):
            await store.read(EventFilter(), limit=0)
        with pytest.raises(UsageError):
            await store.read_stream("order-1", limit=0)

    # -- by id --------------------------------------------------------------------------------------------------

    @pytest.mark.covers("STORE-3")
    async def test_events_are_found_by_id(self, store: StoreBackend) -> None:
        """Where they are; ids that are not there are left out."""
        places = await added(store, new(event_id="a"), new("order-2", event_id="b"))
        found = {place.event_id: place for place in await store.find(["b", "nothing", "a", "b"])}
        assert found.keys() == {"a", "b"}
        for place in places:
            assert (found[place.event_id].stream, found[place.event_id].position) == (
                place.stream,
                place.position,
            )
            assert not found[place.event_id].is_new
        assert await store.find([]) == []
        assert len(await store.find([f"x{number}" for number in range(5000)] + ["a"])) == 1
