"""Horizons, readers in threads, being told of what is new, closing and opening again."""

import asyncio
from collections.abc import Callable

import pytest

from penstock.store.abc import EventFilter, StoreBackend
from penstock.testing.contracts._store_common import added, ids, new, numbered, read_all

__all__ = ["LifeContract"]

_SOON = 10.0
"""Seconds; long for anything that is rung for or looked for."""


class LifeContract:
    """How a store lives, and tells of what it has."""

    @pytest.mark.covers("STORE-6")
    async def test_the_horizon_is_the_last_event_when_nobody_writes(self, store: StoreBackend) -> None:
        """Everything that was answered can be read at once, and nobody holds the head."""
        for count in (1, 5, 100):
            [*_, place] = await added(store, *(new() for _ in range(count)))
            horizon = await store.horizon()
            assert horizon.position == horizon.last == place.position
            assert horizon.holders == ()

    @pytest.mark.covers("STORE-6")
    async def test_a_reader_behind_writers_sees_every_event_once(self, store: StoreBackend) -> None:
        """It follows the horizon while sixteen tasks append, and at the end it has seen what is there, in order."""
        done = asyncio.Event()

        async def write(writer: int) -> None:
            for number in range(25):
                await added(
                    store, *(new(f"order-{writer % 5}", f"{writer}/{number}/{step}") for step in range(3))
                )

        async def follow() -> list[str]:
            seen: list[str] = []
            after = 0
            while True:
                is_last = done.is_set()
                horizon = (await store.horizon()).position
                assert horizon >= after
                while after < horizon:
                    page = await store.read(EventFilter(), after=after, through=horizon, limit=50)
                    seen += ids(page.events)
                    after = page.through
                if is_last:
                    return seen

        following = asyncio.create_task(follow())
        await asyncio.gather(*map(write, range(16)))
        done.set()
        assert await following == ids(await read_all(store))
        assert len(await following) == 16 * 25 * 3

    async def test_a_reader_reads_in_a_thread(self, store: StoreBackend) -> None:
        """Horizon, pages and counts, blocking, over a connection of its own."""
        await added(store, *numbered(10), *numbered(10, "customer-1", name="customer.named"))

        def read() -> tuple[list[str], int, int, int]:
            reader = store.reader()
            try:
                head = reader.horizon().position
                orders = EventFilter(streams=("order-1",))
                found: list[str] = []
                after = 0
                while after < head:
                    page = reader.read(orders, after=after, through=head, limit=3)
                    found += ids(page.events)
                    after = page.through
                return (
                    found,
                    reader.count(EventFilter(), after=0, through=head),
                    reader.count(EventFilter(names=("customer.named",)), after=0, through=head, limit=4),
                    reader.count(orders, after=head, through=head),
                )
            finally:
                reader.close()

        assert await asyncio.to_thread(read) == ([f"order-1/{number}" for number in range(10)], 20, 4, 0)

    async def test_a_reader_sees_what_comes_later(self, store: StoreBackend) -> None:
        """It stays open for long, and each call looks anew."""
        reader = await asyncio.to_thread(store.reader)
        try:
            for count in (1, 2, 3):
                await added(store, new())
                head = await asyncio.to_thread(reader.horizon)
                page = await asyncio.to_thread(
                    reader.read, EventFilter(), after=0, through=head.position, limit=10
                )
                assert len(page.events) == count
        finally:
            await asyncio.to_thread(reader.close)

    @pytest.mark.covers("STORE-7")
    async def test_a_watch_tells_of_an_append(
        self, store: StoreBackend, another: Callable[[], StoreBackend]
    ) -> None:
        """Made through this object, or through another on the same store as another process would."""
        watch = store.watch()
        other = another()
        await other.open()
        try:
            for writer in (store, other, store):
                waiting = asyncio.create_task(watch.wait())
                await added(writer, new())
                await asyncio.wait_for(waiting, _SOON)
        finally:
            await watch.close()
            await other.close()

    @pytest.mark.covers("STORE-7")
    async def test_a_watch_misses_nothing_between_two_waits(self, store: StoreBackend) -> None:
        """What comes while nobody waits makes the next wait return at once."""
        watch = store.watch()
        try:
            for _ in range(3):
                await added(store, new())
                await asyncio.wait_for(watch.wait(), _SOON)
        finally:
            await watch.close()

    @pytest.mark.covers("STORE-7")
    async def test_following_a_watch_one_sees_every_event(
        self, store: StoreBackend, another: Callable[[], StoreBackend]
    ) -> None:
        """Waiting and reading by turns ends with everything seen, whoever appended it."""
        other = another()
        await other.open()
        watch = store.watch()

        async def write(writer: StoreBackend, name: str) -> None:
            for number in range(20):
                await added(writer, new(name, f"{name}/{number}"))

        async def follow() -> set[str]:
            seen: set[str] = set()
            after = 0
            while len(seen) < 40:
                await watch.wait()
                for event in await read_all(store, after=after):
                    seen.add(event.id)
                    after = event.position
            return seen

        try:
            following = asyncio.create_task(follow())
            await asyncio.gather(write(store, "a"), write(other, "b"))
            assert len(await asyncio.wait_for(following, _SOON)) == 40
        finally:
            await watch.close()
            await other.close()

    async def test_a_ring_wakes_who_watches(self, store: StoreBackend) -> None:
        """From any thread, after a commit that the store did not make itself."""
        watch = store.watch()
        try:
            waiting = asyncio.create_task(watch.wait())
            await asyncio.to_thread(store.ring)
            await asyncio.wait_for(waiting, _SOON)
        finally:
            await watch.close()

    async def test_everything_is_there_after_closing_and_opening(self, store: StoreBackend) -> None:
        """Both may be done again and again."""
        await added(store, *numbered(3))
        before = [(event.id, event.position, event.recorded_us) for event in await read_all(store)]
        await store.close()
        await store.close()
        await store.open()
        await store.open()
        assert [(event.id, event.position, event.recorded_us) for event in await read_all(store)] == before
        [place] = await added(store, new())
        assert place.stream_version == 4

    async def test_another_backend_sees_the_same_store(
        self, store: StoreBackend, another: Callable[[], StoreBackend]
    ) -> None:
        """What one has appended the other has at once, and they go on from one another."""
        other = another()
        await other.open()
        try:
            await added(store, *numbered(2))
            assert len(await other.read_stream("order-1", limit=10)) == 2
            await added(other, new(), expected=2)
            assert len(await store.read_stream("order-1", limit=10)) == 3
        finally:
            await other.close()

    async def test_it_says_which_store_it_is(self, store: StoreBackend) -> None:
        """Name and dialect are those of its database, and what is shown holds no password."""
        assert store.name == store.database.name
        assert store.dialect == store.database.dialect
        assert "secret" not in store.database.shown
