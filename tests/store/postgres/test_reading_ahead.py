"""While one full page is handled the next one is read: nobody notices, but for the time that it takes."""

import asyncio
import random
import threading
from contextlib import closing

import psycopg
import pytest

from penstock.errors import StoreUnavailableError
from penstock.store._postgres.backend import PostgresBackend
from penstock.store.abc import EventFilter, EventReader
from penstock.testing.contracts._store_common import added, numbered

_ALL = EventFilter()
_EVERY_OTHER = EventFilter(streams=("order-2",))


async def _filled(store: PostgresBackend) -> None:
    await added(store, *numbered(1000), *numbered(1000, "order-2"))


def _positions(
    reader: EventReader, wanted: EventFilter, *, after: int, through: int, limit: int
) -> list[int]:
    page = reader.read(wanted, after=after, through=through, limit=limit)
    return [event.position for event in page.events]


@pytest.mark.covers("STORE-4")
async def test_whatever_is_asked_between_two_pages_each_is_what_was_asked_for(store: PostgresBackend) -> None:
    """Other filters, other places, other sizes, counts, and how far the store can be read."""
    await _filled(store)

    def work() -> None:
        luck = random.Random(17)
        with closing(store.reader()) as reader:
            expected = list(range(1, 2001))
            place = 0
            for _ in range(300):
                limit = luck.choice([200, 200, 300, 7])
                found = _positions(reader, _ALL, after=place, through=2000, limit=limit)
                assert found == expected[place : place + limit]
                place = (place + len(found)) % 2000
                match luck.randrange(6):
                    case 0:
                        assert reader.horizon().position == 2000
                    case 1:
                        assert reader.count(_EVERY_OTHER, after=0, through=2000) == 1000
                    case 2:
                        assert (
                            _positions(reader, _EVERY_OTHER, after=900, through=2000, limit=200)
                            == expected[1000:1200]
                        )
                    case 3:
                        place = luck.randrange(2000)
                    case _:
                        pass

    await asyncio.to_thread(work)


@pytest.mark.covers("STORE-4")
async def test_a_page_that_is_lost_under_way_is_told_and_read_again(store: PostgresBackend) -> None:
    """Its connection ends: whoever asks for the page hears of it, and the next time there is another connection."""
    await _filled(store)

    def work() -> None:
        with closing(store.reader()) as reader:
            first = reader.read(_ALL, after=0, through=2000, limit=500)
            assert first.through == 500
            with psycopg.connect(store.database.url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            answers: list[list[int]] = []
            for _ in range(2):
                try:
                    answers.append(_positions(reader, _ALL, after=500, through=2000, limit=500))
                except StoreUnavailableError:
                    answers.append([])
            assert answers[-1] == list(range(501, 1001))
            assert answers[0] in ([], answers[-1]), "the page was there already, or was lost whole"

    await asyncio.to_thread(work)


async def test_nothing_is_left_of_a_reader_that_is_closed(store: PostgresBackend) -> None:
    """No thread, no connection, whatever was under way."""
    await _filled(store)

    def work() -> None:
        for _ in range(5):
            with closing(store.reader()) as reader:
                assert len(_positions(reader, _ALL, after=0, through=2000, limit=500)) == 500
        assert not [each for each in threading.enumerate() if "reads ahead" in each.name]

    await asyncio.to_thread(work)
