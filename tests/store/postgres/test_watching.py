"""Readers are told of what was committed, nobody waits for that, and what nobody says is found all the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from penstock.errors import UsageError
from penstock.store._postgres.backend import PostgresBackend
from penstock.store.abc import Append
from tests.store.postgres.callers import add, caller, new

_HOUR = timedelta(hours=1)


@pytest.fixture
async def elsewhere(store: PostgresBackend) -> AsyncIterator[PostgresBackend]:
    """The same store as another process has it, which looks by itself once an hour at most."""
    backend = PostgresBackend("local", store.database.url, poll=_HOUR)
    await backend.open()
    yield backend
    await backend.close()


async def _listening(store: PostgresBackend) -> None:
    """Wait until somebody listens, and has looked often enough not to look again soon."""
    while not (
        await store._reading.query(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"
        )
    )[0][0]:
        await asyncio.sleep(0.01)


async def _quiet(store: PostgresBackend) -> None:
    """Wait until everything that was rung for has been said, and the next ring would be heard at once."""
    await asyncio.sleep(0)
    while store._bell is not None and store._bell._ringing is not None:
        await asyncio.sleep(0.001)


def _heard(store: PostgresBackend, ear: "psycopg.Connection[Any]", channel: str) -> int:
    """How many notifications there were before this moment. They come in the order of commits."""
    with psycopg.connect(store.database.url, autocommit=True) as connection:
        connection.execute("SELECT pg_notify(%s, 'now')", (channel,))
    with closing(ear.notifies(timeout=10)) as notifications:
        for number, each in enumerate(notifications):
            if each.payload == "now":
                return number
    pytest.fail("the last notification did not arrive")


@pytest.mark.covers("STORE-7")
async def test_another_process_is_told_within_milliseconds(
    store: PostgresBackend, elsewhere: PostgresBackend
) -> None:
    """From the commit to the reader: under 50 ms in the median."""
    watch = elsewhere.watch()
    await _listening(store)
    delays: list[float] = []
    for number in range(21):
        waiting = asyncio.create_task(watch.wait())
        await store.append(Append((new("order-1", f"event {number}"),)))
        began = time.perf_counter()
        await asyncio.wait_for(waiting, 5)
        delays.append(time.perf_counter() - began)
        await _quiet(store)
    await watch.close()
    assert sorted(delays)[10] < 0.050


@pytest.mark.covers("STORE-7")
async def test_what_nobody_rang_for_is_found_by_looking(store: PostgresBackend) -> None:
    """A caller that died between its commit and the bell costs no more than the pause between two looks."""
    watch = store.watch()
    await _listening(store)
    with caller(store) as silent:
        add(store, silent, new("order-1", "a"))
        silent.commit()
    while (await store.horizon()).position < 1:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(watch.wait(), 3)
    await watch.close()


@pytest.mark.covers("STORE-7")
async def test_the_transaction_of_an_append_notifies_nobody(store: PostgresBackend) -> None:
    """All transactions that notify commit one after the other. Ringing comes later, and from outside."""
    number = (await store._reading.query("SELECT penstock_store_number()"))[0][0]
    with psycopg.connect(store.database.url, autocommit=True) as ear:
        ear.execute(f'LISTEN "penstock_{number}"'.encode())
        with caller(store) as own:
            add(store, own, new("order-1", "a"))
            add(store, own, new("order-1", "b"), new("order-1", "c"))
            own.commit()
        assert _heard(store, ear, f"penstock_{number}") == 0
        store.ring()
        await _quiet(store)
        assert _heard(store, ear, f"penstock_{number}") == 1


async def test_bells_ring_at_most_every_ten_milliseconds(store: PostgresBackend) -> None:
    """However many appends there are; the last one is always rung for."""
    number = (await store._reading.query("SELECT penstock_store_number()"))[0][0]
    with psycopg.connect(store.database.url, autocommit=True) as ear:
        ear.execute(f'LISTEN "penstock_{number}"'.encode())
        began = time.perf_counter()
        for _ in range(500):
            store.ring()
            await asyncio.sleep(0)
        await _quiet(store)
        taken = time.perf_counter() - began
        heard = _heard(store, ear, f"penstock_{number}")
    assert 1 <= heard <= taken / 0.010 + 2


async def test_watches_in_the_same_loop_are_woken_without_the_server(store: PostgresBackend) -> None:
    """Everybody who watches, and each once."""
    watches = [store.watch() for _ in range(3)]
    await asyncio.gather(*(asyncio.wait_for(watch.wait(), 10) for watch in watches))
    await store.append(Append((new("order-1", "a"),)))
    await asyncio.gather(*(asyncio.wait_for(watch.wait(), 10) for watch in watches))
    for watch in watches:
        await watch.close()


async def test_listening_may_go_another_way_than_writing(store: PostgresBackend) -> None:
    """Past a pooler that shares sessions, in which nobody can listen."""
    direct = store.database.url + "&application_name=direct"
    backend = PostgresBackend("local", store.database.url, listen_url=direct, poll=_HOUR)
    await backend.open()
    watch = backend.watch()
    await _listening(store)
    await watch.close()
    await backend.close()


async def test_who_listens_connects_again(store: PostgresBackend, elsewhere: PostgresBackend) -> None:
    """And looks at once for what was said meanwhile."""
    watch = elsewhere.watch()
    await _listening(store)
    await asyncio.wait_for(watch.wait(), 10)
    await store._reading.query(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'penstock listens'"
    )
    await asyncio.wait_for(watch.wait(), 5)
    await watch.close()


async def test_a_store_that_is_not_open_cannot_be_watched(each_postgres_database: str) -> None:
    """Ringing is of no effect then: nobody can have committed through it."""
    closed = PostgresBackend("local", each_postgres_database)
    closed.ring()
    with pytest.raises(UsageError, match="not open"):
        closed.watch()
