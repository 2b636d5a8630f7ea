"""Connections that break, servers that restart, and databases in which positions could not be trusted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from penstock.errors import (
    ConfigurationError,
    MissingMigrationError,
    StoreRefusedError,
    StoreUnavailableError,
    UndecodableEntryError,
    UsageError,
)
from penstock.store import migrating
from penstock.store._postgres.backend import PostgresBackend
from penstock.store.abc import NO_STREAM, Append, EventFilter
from tests.fixtures_postgres import PostgresServer, new_database, serving
from tests.store.postgres.callers import add, caller, new

_EVERYTHING = EventFilter()


def _end_all(url: str, *, like: str = "%") -> int:
    with psycopg.connect(url, autocommit=True) as admin:
        rows = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE %s",
            (like,),
        ).fetchall()
    return len(rows)


def _execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.encode())


@pytest.mark.parametrize("idle", [True, False])
async def test_connections_that_are_ended_are_made_again(store: PostgresBackend, idle: bool) -> None:
    """Whoever calls next does not notice, whether the end was seen or comes as the answer."""
    for turn in range(3):
        await store.append(Append((new("order-1", f"event {turn}"),)))
        lines = [*store._writing._lines, *store._reading._lines]
        assert await asyncio.to_thread(_end_all, store.database.url) >= 1
        if idle:
            while not all(line.is_closed for line in lines):
                await asyncio.sleep(0.01)
        assert len(await store.read_stream("order-1", limit=10)) == turn + 1


@pytest.mark.covers("STORE-3")
async def test_a_connection_lost_in_the_middle_of_an_append_loses_and_doubles_nothing(
    store: PostgresBackend,
) -> None:
    """The same ids are sent again over another connection: what was committed is found, what was not is added."""
    with caller(store) as slow:
        add(store, slow, new("order-1", "first"))
        waiting = [
            asyncio.create_task(store.append(Append((new("order-1", f"event {n}"),)))) for n in range(5)
        ]
        while not (await store._reading.query("SELECT count(*) FROM pg_locks WHERE NOT granted"))[0][0]:
            await asyncio.sleep(0.01)
        _execute(
            store.database.url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted",
        )
        slow.commit()
    outcomes = await asyncio.gather(*waiting)
    assert all(isinstance(outcome, list) and outcome[0].is_new for outcome in outcomes)
    assert [event.stream_version for event in await store.read_stream("order-1", limit=10)] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


async def test_a_reader_of_a_thread_connects_again(store: PostgresBackend) -> None:
    """What breaks it is told once, as something that may be tried again."""
    await store.append(Append((new("order-1", "a"),)))
    reader = store.reader()
    try:
        assert reader.horizon().position == 1
        await asyncio.to_thread(_end_all, store.database.url)
        with pytest.raises(StoreUnavailableError):
            reader.horizon()
        assert [event.id for event in reader.read(_EVERYTHING, after=0, through=1, limit=5).events] == ["a"]
    finally:
        reader.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with serving("18") as server:
        yield server


@pytest.fixture
async def own_store(own_server: PostgresServer) -> AsyncIterator[PostgresBackend]:
    """A store on it."""
    backend = PostgresBackend("local", new_database(own_server))
    await asyncio.to_thread(migrating.apply, backend.database)
    await backend.open()
    yield backend
    await backend.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.covers("STORE-1")
async def test_a_server_that_restarts_under_load_loses_and_doubles_nothing(
    own_server: PostgresServer, own_store: PostgresBackend, mode: str
) -> None:
    """Writers that call again with the same ids until it is done have each event once."""
    stop = asyncio.Event()
    done: list[str] = []
    refused = 0

    async def write(number: int) -> None:
        nonlocal refused
        turn = 0
        while not stop.is_set() or turn == 0:
            name = f"{number}-{turn}"
            try:
                await own_store.append(Append((new(f"order-{number}", name),)))
            except StoreUnavailableError:
                refused += 1
                await asyncio.sleep(0.02)
            else:
                done.append(name)
                turn += 1

    watch = own_store.watch()
    writers = [asyncio.create_task(write(number)) for number in range(8)]
    while len(done) < 100:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(own_server.stop, mode=mode)
    while not refused:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(own_server.start)
    before = len(done)
    while len(done) < before + 100:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*writers)
    await asyncio.wait_for(watch.wait(), 10)
    await watch.close()
    found: list[str] = []
    after, through = 0, (await own_store.horizon()).position
    while after < through:
        page = await own_store.read(_EVERYTHING, after=after, through=through, limit=500)
        found += [event.id for event in page.events]
        after = page.through
    assert sorted(found) == sorted(done)


@pytest.mark.covers("STORE-6", "LEAD-4")
async def test_a_hot_standby_is_refused(own_server: PostgresServer) -> None:
    """It shows what was committed, and not who may still commit."""
    url = new_database(own_server)
    await asyncio.to_thread(migrating.apply, PostgresBackend("local", url).database)
    await asyncio.to_thread(own_server.stop)
    (own_server.data / "standby.signal").touch()
    shutil.chown(own_server.data / "standby.signal", (own_server.data / "PG_VERSION").owner())
    await asyncio.to_thread(own_server.start)
    standby = PostgresBackend("local", url)
    with pytest.raises(StoreRefusedError, match="hot standby"):
        await standby.open()
    reader = standby.reader()
    with pytest.raises(StoreRefusedError, match="hot standby"):
        reader.horizon()
    reader.close()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("ALTER SEQUENCE penstock_positions CACHE 20", "CACHE 20"),
        ("ALTER SEQUENCE penstock_positions INCREMENT 2", "INCREMENT 2"),
        ("SELECT setval('penstock_positions', 1)", "hands out positions from 2, and has events up to 2"),
    ],
)
@pytest.mark.covers("STORE-6")
async def test_a_sequence_by_which_order_would_be_lost_is_refused(
    store: PostgresBackend, harm: str, says: str
) -> None:
    """Changed by hand, or restored to an earlier state than the events."""
    await store.append(Append((new("order-1", "a"), new("order-1", "b"))))
    _execute(store.database.url, harm)
    late = PostgresBackend("local", store.database.url)
    with pytest.raises(StoreRefusedError, match=says):
        await late.open()


async def test_a_store_that_was_copied_with_its_number_is_refused(store: PostgresBackend) -> None:
    """Two stores of one number in a database would hold each other's readers up."""
    _execute(store.database.url, "CREATE SCHEMA copy")
    _execute(
        store.database.url,
        "CREATE FUNCTION copy.penstock_store_number() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 1::bigint'",
    )
    with pytest.raises(StoreRefusedError, match="two stores with number 1"):
        await PostgresBackend("local", store.database.url).open()


async def test_a_database_of_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    """It could not hold every event."""
    _execute(
        postgres_server.url(),
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    with pytest.raises(StoreRefusedError, match="LATIN1"):
        await PostgresBackend("local", postgres_server.url("latin")).open()


async def test_a_user_who_may_not_see_the_sequence_is_refused_with_the_grant(store: PostgresBackend) -> None:
    """Newer servers answer with no value in place of an error, which would look like an empty store."""
    url = store.database.url
    for sql in (
        "DROP ROLE IF EXISTS clerk",
        "CREATE ROLE clerk LOGIN",
        "GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO clerk",
    ):
        _execute(url, sql)
    with pytest.raises(StoreRefusedError, match="GRANT SELECT, USAGE ON SEQUENCE penstock_positions"):
        await PostgresBackend("local", url.replace("postgres:@", "clerk:@")).open()
    _execute(url, "GRANT SELECT, USAGE ON SEQUENCE penstock_positions TO clerk")
    clerk = PostgresBackend("local", url.replace("postgres:@", "clerk:@"))
    assert isinstance(await clerk.append(Append((new("order-1", "a"),), NO_STREAM)), list)
    assert (await clerk.horizon()).position == 1
    await clerk.close()
    _execute(url, "DROP OWNED BY clerk")
    _execute(url, "DROP ROLE clerk")


async def test_missing_tables_are_named_with_the_command(postgres_database: str) -> None:
    """Nothing is made without being asked for."""
    with pytest.raises(MissingMigrationError, match="penstock db migrate --store local") as missing:
        await PostgresBackend("local", postgres_database).open()
    assert "0001_events" in missing.value.missing
    reader = PostgresBackend("local", postgres_database).reader()
    with pytest.raises(MissingMigrationError):
        reader.horizon()
    reader.close()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://localhost:1/none", StoreUnavailableError),
        ("postgresql://postgres@/nowhere?host={folder}", StoreRefusedError),
        ("mysql://localhost/shop", ConfigurationError),
    ],
)
async def test_who_cannot_be_reached_and_who_does_not_let_us_in_are_told_apart(
    postgres_server: PostgresServer, url: str, error: type[Exception]
) -> None:
    """The one may be tried again."""
    with pytest.raises(error):
        await PostgresBackend("local", url.format(folder=postgres_server.folder)).open()


async def test_a_damaged_row_is_named_by_its_position(store: PostgresBackend) -> None:
    """A page with it says which event it is, and pages around it can be read."""
    await store.append(Append((new("order-1", "a"), new("order-1", "b"), new("order-1", "c"))))
    _execute(
        store.database.url, """UPDATE penstock_events SET meta = '{"time": "yesterday"}' WHERE position = 2"""
    )
    with pytest.raises(UndecodableEntryError, match="entry 2 of stream 'order-1'"):
        await store.read(_EVERYTHING, limit=10)
    assert [event.id for event in (await store.read(_EVERYTHING, after=2, limit=10)).events] == ["c"]


async def test_a_mistake_in_one_append_is_not_the_others_fault(store: PostgresBackend) -> None:
    """Tasks that share a transaction each get what they deserve."""
    outcomes = await asyncio.gather(
        *(store.append(Append((new(f"order-{number}", f"event {number}"),))) for number in range(3)),
        store.append(Append((new("order-4", "wrong", headers={"note": "a\0b"}),))),
        return_exceptions=True,
    )
    assert [isinstance(outcome, list) for outcome in outcomes] == [True, True, True, False]
    assert isinstance(outcomes[3], UsageError)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b' {"a" : 1}\n',
        b"null",
        b'"text"',
        b"1e400",
        b'{"a":1,"a":2}',
        b"[1]",
    ],
)
async def test_a_body_comes_back_to_the_byte(store: PostgresBackend, data: bytes) -> None:
    """Alone and among others, whatever JSON allows; what is no JSON is kept all the same."""
    await store.append(Append((new("order-1", "one", data=data),)))
    await store.append(
        Append((new("order-1", "two", data=data), new("order-1", "three", data=data + b"\xff{")))
    )
    bodies = [event.data for event in await store.read_stream("order-1", limit=9)]
    assert bodies == [data, data, data + b"\xff{"]


def test_the_password_is_never_shown() -> None:
    """Not in what is printed, nor in errors."""
    for url in (
        "postgresql://shop:s3cret@db:5432/shop",
        "postgresql+psycopg://shop:s3cret@db/shop?sslmode=require",
        "postgres://db/shop?user=shop&password=s3cret",
    ):
        assert "s3cret" not in PostgresBackend("local", url).database.shown
    with pytest.raises(ConfigurationError) as wrong:
        PostgresBackend("local", "mysql://shop:s3cret@db/shop")
    assert "s3cret" not in str(wrong.value)


def test_a_loop_that_is_gone_is_let_go_of(each_postgres_database: str) -> None:
    """Whoever calls from another loop afterwards connects anew, and nothing is left open."""
    backend = PostgresBackend("local", each_postgres_database)
    migrating.apply(backend.database)

    async def work(event_id: str) -> int:
        await backend.open()
        watch = backend.watch()
        await backend.append(Append((new("order-1", event_id),)))
        await watch.wait()
        return len(await backend.read_stream("order-1", limit=9))

    assert asyncio.run(work("a")) == 1
    backend.abandon()
    assert asyncio.run(work("b")) == 2
    backend.abandon()
