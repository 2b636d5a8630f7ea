"""Appending: places, identity, versions, refusals."""

import asyncio

import pytest

from penstock.codec import MESSAGEPACK
from penstock.message import Meta
from penstock.store._steps import run_steps
from penstock.store.abc import (
    ANY,
    EXISTS,
    NO_STREAM,
    Append,
    Appended,
    Conflict,
    Expected,
    NewEvent,
    StoreBackend,
    StreamMetadata,
)
from penstock.testing.contracts._store_common import added, appended, ids, new, numbered, read_all

__all__ = ["AppendingContract"]

_NAMES = ["ümläut", "名前", "a b", "x'y\"z", "%_?", "{}:[]", "-", "--", "😀", "ſ", "\n\t", "a" * 1000]
_BODIES: dict[str, tuple[str, bytes | None]] = {
    "none": ("application/json", None),
    "null": ("application/json", b"null"),
    "spaces and order kept": ("application/json", b'{ "b" : 1,\n "a": [1.0, 1e3] , "a": 2}'),
    "a bare text": ("application/json", b'"text"'),
    "unicode": ("application/json", '{"x":"ü😀\\u0007"}'.encode()),
    "an escaped NUL": ("application/json", b'{"x":"\\u0000"}'),
    "big numbers": ("application/json", b"123456789012345678901234567890"),
    "with parameters": ("application/json; charset=utf-8", b'{"x":1}'),
    "bytes": ("application/octet-stream", bytes(range(256))),
    "empty bytes": ("application/octet-stream", b""),
    "a text": ("text/plain", "ünï".encode()),
    "MessagePack": ("application/msgpack", MESSAGEPACK.encode({"a": [1, None, b"x"]})),
    "huge": ("application/json", b'"' + b"x" * 3_000_000 + b'"'),
    "huge bytes": ("application/octet-stream", bytes(3_000_000)),
}


class AppendingContract:
    """What happens to events on their way in."""

    @pytest.mark.covers("STORE-1")
    async def test_events_get_places_in_input_order(self, store: StoreBackend) -> None:
        """Positions rise strictly in the order of the call, and versions count each stream for itself from 1."""
        events = [new("order-1"), new("order-2"), new("order-1"), new("customer-9"), new("order-1")]
        places = await added(store, *events)
        assert ids(places) == [event.id for event in events]
        assert [place.stream for place in places] == [event.stream for event in events]
        assert [place.stream_version for place in places] == [1, 1, 2, 1, 3]
        positions = [place.position for place in places]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1
        assert all(place.is_new for place in places)

    @pytest.mark.covers("STORE-1")
    async def test_a_later_append_goes_on_from_the_earlier(self, store: StoreBackend) -> None:
        """Versions and positions go on, whoever appends."""
        [first] = await added(store, new())
        [second] = await added(store, new())
        assert (first.stream_version, second.stream_version) == (1, 2)
        assert second.position > first.position

    async def test_an_append_of_nothing_is_nothing(self, store: StoreBackend) -> None:
        """No events, no places, whatever is expected."""
        assert await added(store) == []
        assert await added(store, expected=7) == []
        assert (await store.horizon()).last == 0

    @pytest.mark.covers("STORE-1")
    async def test_a_thousand_events_go_in_together(self, store: StoreBackend) -> None:
        """A batch has every event, in order, over many streams."""
        events = [new(f"order-{number % 7}", f"n{number}") for number in range(1000)]
        places = await added(store, *events)
        assert [place.stream_version for place in places] == [number // 7 + 1 for number in range(1000)]
        assert ids(await read_all(store)) == [event.id for event in events]

    @pytest.mark.covers("STORE-1")
    async def test_what_was_appended_comes_back_whole(self, store: StoreBackend) -> None:
        """Envelope and body are what went in, to the last field, and the place is beside them."""
        meta = Meta(
            time=1_234_567_890_123_456,
            source="shop",
            key="k-1",
            version=3,
            kind="command",
            headers={"tenant": "a", "ü": "😀'\""},
            correlation="c0",
            causation="c1",
            original_id="5-3",
        )
        event = NewEvent("order-1", "the id", "order.placed", meta, b'{"a": 1}')
        [place] = await added(store, event)
        [stored] = await read_all(store)
        assert (stored.id, stored.name, stored.stream) == ("the id", "order.placed", "order-1")
        assert (stored.position, stored.stream_version) == (place.position, place.stream_version)
        assert stored.meta == meta
        assert stored.data == b'{"a": 1}'
        assert stored.payload == {"a": 1}
        assert stored.category == "order"
        assert int(stored.raw_entry_id) == place.position
        assert stored.recorded_us > stored.meta.time

    @pytest.mark.parametrize("body", _BODIES)
    async def test_a_body_comes_back_byte_for_byte(self, store: StoreBackend, body: str) -> None:
        """Whatever its content type, and none is not an empty one; by every way of reading."""
        content_type, data = _BODIES[body]
        await added(store, new(data=data, content_type=content_type))
        [by_position] = await read_all(store)
        [by_version] = await store.read_stream("order-1", limit=10)
        assert by_position.data == by_version.data == data
        assert by_position.content_type == by_version.content_type == content_type

    async def test_any_text_can_be_a_name(self, store: StoreBackend) -> None:
        """Streams, ids, names, keys and headers hold any text, and none is taken for another."""
        events = [
            new(f"s{text}", f"i{text}", f"n{text}", key=text, headers={f"h{text}"[:200]: text})
            for text in _NAMES
        ]
        await added(store, *events)
        stored = await read_all(store)
        assert [(event.stream, event.id, event.name, event.key) for event in stored] == [
            (event.stream, event.id, event.name, event.meta.key) for event in events
        ]
        assert [event.headers for event in stored] == [event.meta.headers for event in events]
        for text in _NAMES:
            [found] = await store.read_stream(f"s{text}", limit=10)
            assert found.id == f"i{text}"
            assert ids(await store.find([f"i{text}"])) == [f"i{text}"]

    # -- identity -----------------------------------------------------------------------------------------------

    @pytest.mark.covers("STORE-3")
    async def test_an_id_is_kept_once(self, store: StoreBackend) -> None:
        """Appending an id again adds nothing and answers where the first one is, whatever else is said of it."""
        [first] = await added(store, new(event_id="a"))
        [again] = await added(store, new(event_id="a"))
        [elsewhere] = await added(store, new("order-2", event_id="a", data=b"other"))
        for place in (again, elsewhere):
            assert (place.event_id, place.stream, place.position) == ("a", "order-1", first.position)
            assert place.stream_version == 1
            assert not place.is_new
        assert len(await read_all(store)) == 1
        assert await store.stream("order-2") is None

    @pytest.mark.covers("STORE-3")
    async def test_an_id_twice_in_one_append_is_kept_once(self, store: StoreBackend) -> None:
        """The second one is answered with the place of the first, and versions have no gap."""
        places = await added(store, new(event_id="a"), new(event_id="a"), new(event_id="b"))
        assert [place.is_new for place in places] == [True, False, True]
        assert places[0].position == places[1].position
        assert [event.stream_version for event in await read_all(store)] == [1, 2]

    @pytest.mark.covers("STORE-3")
    async def test_a_partly_repeated_append_adds_the_rest(self, store: StoreBackend) -> None:
        """What is there stays where it is, what is not comes behind it, and answers are in input order."""
        await added(store, *numbered(3))
        places = await added(store, new(event_id="x"), *numbered(3), new(event_id="y"))
        assert ids(places) == ["x", "order-1/0", "order-1/1", "order-1/2", "y"]
        assert [place.is_new for place in places] == [True, False, False, False, True]
        assert [place.stream_version for place in places] == [4, 1, 2, 3, 5]

    @pytest.mark.covers("STORE-3", "STORE-2")
    async def test_a_repeated_append_is_harmless_whatever_it_expected(self, store: StoreBackend) -> None:
        """A writer that does not know what became of its append repeats it, and is told where its events are."""
        first = await added(store, *numbered(2), expected=NO_STREAM)
        await added(store, new())
        again = await added(store, *numbered(2), expected=NO_STREAM)
        assert [place.position for place in again] == [place.position for place in first]
        assert not any(place.is_new for place in again)

    # -- versions -----------------------------------------------------------------------------------------------

    @pytest.mark.covers("STORE-2")
    @pytest.mark.parametrize(
        ("there", "expected", "goes_in"),
        [
            (0, ANY, True),
            (0, NO_STREAM, True),
            (0, EXISTS, False),
            (0, 0, True),
            (0, 1, False),
            (2, ANY, True),
            (2, NO_STREAM, False),
            (2, EXISTS, True),
            (2, 0, False),
            (2, 1, False),
            (2, 2, True),
            (2, 3, False),
        ],
    )
    async def test_a_version_is_as_expected_or_nothing_goes_in(
        self, store: StoreBackend, there: int, expected: Expected, goes_in: bool
    ) -> None:
        """The expectation is met, or the append is refused as a whole and told the actual version."""
        await added(store, *numbered(there))
        outcome = await appended(store, new(), new(), expected=expected)
        if goes_in:
            assert not isinstance(outcome, Conflict)
            assert [place.stream_version for place in outcome] == [there + 1, there + 2]
        else:
            assert outcome == Conflict("order-1", "version", actual=there)
            assert len(await read_all(store)) == there

    @pytest.mark.covers("STORE-2")
    async def test_of_many_writers_of_one_version_one_wins(self, store: StoreBackend) -> None:
        """They all expect the same version at the same time."""
        await added(store, *numbered(5))
        outcomes = await asyncio.gather(*(appended(store, new(), expected=5) for _ in range(20)))
        refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert len(refused) == 19
        assert {outcome.actual for outcome in refused} == {6}
        assert [event.stream_version for event in await store.read_stream("order-1", limit=10)] == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]

    async def test_a_refused_append_touches_no_other(self, store: StoreBackend) -> None:
        """Appends that share a commit stand and fall alone."""
        await added(store, new())
        outcomes = await asyncio.gather(
            *(
                appended(store, new(f"order-{number}"), expected=NO_STREAM if number % 2 else 7)
                for number in range(2, 22)
            )
        )
        assert [isinstance(outcome, Conflict) for outcome in outcomes] == [
            number % 2 == 0 for number in range(2, 22)
        ]
        assert len(await read_all(store)) == 11

    async def test_many_tasks_append_at_the_same_time(self, store: StoreBackend) -> None:
        """Every event is there once, each stream without a gap, each append in one piece and in its order."""

        async def write(writer: int) -> list[int]:
            found: list[int] = []
            for round_ in range(10):
                events = [
                    new(f"order-{(writer + step) % 3}", f"{writer}/{round_}/{step}") for step in range(3)
                ]
                found += [place.position for place in await added(store, *events)]
            return found

        written = await asyncio.gather(*map(write, range(16)))
        stored = await read_all(store)
        assert len(stored) == 480
        assert sorted(position for each in written for position in each) == [
            event.position for event in stored
        ]
        for each in written:
            assert each == sorted(each)
        for stream in ("order-0", "order-1", "order-2"):
            versions = [event.stream_version for event in stored if event.stream == stream]
            assert versions == list(range(1, len(versions) + 1))

    # -- streams that are not for everybody ---------------------------------------------------------------------

    async def test_only_its_owner_appends_to_a_derived_stream(self, store: StoreBackend) -> None:
        """Others are refused, with the owner's name; whatever else was in the append did not go in either."""
        await store.set_metadata("order-1", StreamMetadata(owner="totals"))
        assert await appended(store, new("order-2"), new()) == Conflict(
            "order-1", "protected", owner="totals"
        )
        assert await appended(store, new(), owner="other") == Conflict("order-1", "protected", owner="totals")
        assert await read_all(store) == []
        [place] = await added(store, new(), owner="totals")
        assert place.stream_version == 1

    async def test_an_owner_may_append_to_what_is_nobodys(self, store: StoreBackend) -> None:
        """Saying who appends takes nothing into possession."""
        await added(store, new(), owner="totals")
        await added(store, new())

    async def test_nothing_goes_into_a_stream_deleted_for_good(self, store: StoreBackend) -> None:
        """The name is spent, for its owner too."""
        await added(store, new())
        await store.delete("order-1", for_good=True)
        assert await appended(store, new()) == Conflict("order-1", "deleted")
        assert await appended(store, new("order-2"), new()) == Conflict("order-1", "deleted")
        assert await read_all(store) == []

    async def test_the_steps_of_an_append_are_plain_statements(self, store: StoreBackend) -> None:
        """Run in a transaction of one's own they do what `append` does, and vanish with its rollback."""
        connection = store.database.connect()

        def run(append: Append) -> list[Appended] | Conflict:
            return run_steps(store.database, connection, store.steps(append))

        def appended_there(append: Append) -> list[Appended]:
            places = run(append)
            assert not isinstance(places, Conflict)
            return places

        try:
            store.database.begin(connection)
            places = appended_there(Append(tuple(numbered(2)), NO_STREAM))
            assert [place.stream_version for place in places] == [1, 2]
            connection.rollback()
            assert await read_all(store) == []
            store.database.begin(connection)
            appended_there(Append(tuple(numbered(1200)), NO_STREAM))
            assert run(Append((new(),), 7)) == Conflict("order-1", "version", actual=1200)
            again = appended_there(Append(tuple(numbered(2)), NO_STREAM))
            assert [place.is_new for place in again] == [False, False]
            connection.commit()
        finally:
            connection.close()
        assert [event.stream_version for event in await read_all(store)] == list(range(1, 1201))
