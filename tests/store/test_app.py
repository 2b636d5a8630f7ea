"""An app's stores: which there are, where they are, and how long they live."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import App
from penstock._housekeeping import Keeping
from penstock._housekeeping._ruling import Ruling
from penstock.config import load_settings
from penstock.errors import InvalidSettingsError, StoreRefusedError, UnknownStoreError, UsageError
from penstock.listeners.registry import Registry
from penstock.store import NO_STREAM, EventFilter, StreamMetadata, make_backend
from penstock.store._sqlite import SqliteBackend
from penstock.store.migrating import apply
from penstock.streams.memory import MemoryBroker
from penstock.testing import ManualClock
from tests.forking import forked
from tests.store.events import OrderPaid, OrderPlaced


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """An app with its store in a file; no server is started."""
    made = App(
        "shop",
        store=f"sqlite:///{tmp_path / 'shop.db'}",
        broker=MemoryBroker(),
        data_folder=str(tmp_path / "data"),
    )
    yield made
    await made.close()


def of(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **code: Any) -> Any:
    """Settings of a file with this text."""
    (tmp_path / "penstock.toml").write_text(text)
    return load_settings(start=tmp_path, environ=environ or {}, code=code)


@pytest.mark.covers("STORE-5")
async def test_two_stores_are_two_databases(tmp_path: Path) -> None:
    """One service appends to the shared store, another one reads it; what is local to one the other never sees."""
    stores = {"shared": {"url": f"sqlite:///{tmp_path / 'shared.db'}"}}
    shop = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker(), stores=stores)
    mail = App("mail", store=f"sqlite:///{tmp_path / 'mail.db'}", broker=MemoryBroker(), stores=stores)
    try:
        await shop.store("shared").append(OrderPlaced(order_id="1", cents=7))
        await shop.store().append(OrderPaid(order_id="1", currency="EUR"))
        assert [event.decode(OrderPlaced).cents async for event in mail.store("shared").read()] == [7]
        assert [event async for event in mail.store().read()] == []
        assert [event.source async for event in mail.store("shared").read()] == ["shop"]
        assert shop.store_names == ("local", "shared")
    finally:
        await shop.close()
        await mail.close()


@pytest.mark.covers("STORE-5")
async def test_a_shared_store_on_another_kind_of_database(tmp_path: Path, postgres_database: str) -> None:
    """The local store is a file, the shared one PostgreSQL; both are used alike."""
    app = App(
        "shop",
        store=f"sqlite:///{tmp_path / 'shop.db'}",
        broker=MemoryBroker(),
        stores={"shared": {"url": postgres_database, "poll": "100ms"}},
    )
    try:
        await asyncio.to_thread(apply, app.store("shared").database)
        for name in app.store_names:
            assert (
                await app.store(name).append(OrderPlaced(order_id="1"), expected_version=NO_STREAM)
            ).stream_version == 1
            assert (await app.store(name).load("order-1")).version == 1
    finally:
        await app.close()


async def test_a_store_that_is_not_configured_is_named_with_those_that_are(app: App) -> None:
    """And with what to write."""
    with pytest.raises(
        UnknownStoreError, match=r"no event store 'shred'; there are local\..*\[stores\.shred\] url"
    ):
        app.store("shred")


def test_asking_for_a_store_connects_to_nothing(tmp_path: Path) -> None:
    """The file is made by the first use."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    assert app.store() is app.store()
    assert app.store().database.shown.endswith("shop.db")
    assert not (tmp_path / "shop.db").exists()


async def test_the_local_store_is_in_the_data_folder_by_default(tmp_path: Path) -> None:
    """Without a word about it."""
    app = App("shop", broker=MemoryBroker(), data_folder=str(tmp_path / "data"))
    await app.store().append(OrderPlaced(order_id="1"))
    await app.close()
    assert (tmp_path / "data" / "events.db").exists()
    assert (tmp_path / "data" / ".gitignore").read_text() == "*\n"


async def test_a_closed_app_may_be_used_again(app: App) -> None:
    """Closing closes files and threads; the next use opens them."""
    store = app.store()
    await store.append(OrderPlaced(order_id="1"))
    await app.close()
    await store.append(OrderPlaced(order_id="1"))
    assert (await store.load("order-1")).version == 2


def test_each_event_loop_has_its_own_connections(tmp_path: Path) -> None:
    """A script may call ``asyncio.run`` several times with the same app and the same store."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    store = app.store()

    async def append(close: bool) -> int:
        place = await store.append(OrderPlaced(order_id="1"))
        if close:
            await app.close()
        return place.stream_version

    assert [asyncio.run(append(close)) for close in (True, False, False, True)] == [1, 2, 3, 4]


def test_without_asyncio(app: App) -> None:
    """``app.sync.store()`` does the same, and joins transactions of the calling thread."""
    store = app.sync.store()
    assert store.append(OrderPlaced(order_id="1", cents=3), expected_version=NO_STREAM).stream_version == 1
    assert [place.stream_version for place in store.append([OrderPlaced(order_id="1")] * 2)] == [2, 3]
    assert store.load("order-1", after=1).version == 3
    assert len(list(store.read(page=2))) == 3
    assert len(list(store.read(categories=["order"], names=[OrderPaid]))) == 0
    assert store.fold(0, {OrderPlaced: lambda total, order: total + order.cents}) == 5
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        assert store.append(OrderPlaced(order_id="1"), within=connection).stream_version == 4
        assert store.load("order-1", within=connection).version == 4
        connection.rollback()
    assert store.load("order-1").version == 3
    assert store.name == "local"
    assert store.horizon().last == 3
    assert [place.position for place in store.find([next(store.read()).id])] == [1]
    store.set_metadata("order-1", StreamMetadata(max_count=2))
    assert store.apply_rules() == 1
    assert [(info.name, info.events) for info in store.streams()] == [("order-1", 2)]
    assert store.delete("order-1", for_good=True) == 2
    info = store.stream("order-1")
    assert info is not None
    assert info.deleted
    app.sync.close()


async def test_sync_appends_do_not_join_what_is_awaited(app: App) -> None:
    """A connection of asyncio is refused there, with where to go."""
    aiosqlite = pytest.importorskip("aiosqlite")
    await app.store().open()
    path = app.store().database.shown.removeprefix("sqlite:///")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute("BEGIN")

        def append() -> None:
            app.sync.store().append(OrderPlaced(order_id="1"), within=connection)

        with pytest.raises(UsageError, match="in a coroutine use the app itself"):
            await asyncio.to_thread(append)
    await asyncio.to_thread(app.sync.close)


def in_child(work: Callable[[], None]) -> int:
    """Fork, and do it there; 0 if it went well."""
    return os.waitpid(forked(work), 0)[1]


def test_a_forked_process_has_its_own_connections(tmp_path: Path) -> None:
    """A child goes on with an app that its parent had open and closed; both write to the end."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    store = app.store()

    async def append() -> None:
        for _ in range(20):
            await store.append(OrderPlaced(order_id="1"))
        await app.close()

    async def look() -> int:
        version = (await store.load("order-1")).version
        await app.close()
        return version

    asyncio.run(append())
    assert in_child(lambda: asyncio.run(append())) == 0
    asyncio.run(append())
    assert asyncio.run(look()) == 60


def test_a_process_forked_from_an_open_store_does_not_touch_it(tmp_path: Path) -> None:
    """SQLite would let both write over one another; the child is told so, and the parent's events are all there."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    store = app.store()

    async def append() -> None:
        await store.append(OrderPlaced(order_id="1"))

    def refused() -> None:
        with pytest.raises(StoreRefusedError, match="was open when this process was forked"):
            asyncio.run(append())

    asyncio.run(append())
    assert in_child(refused) == 0

    async def look() -> int:
        await append()
        version = (await store.load("order-1")).version
        await app.close()
        return version

    assert asyncio.run(look()) == 2
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- settings ---------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_where_they_are_said(tmp_path: Path) -> None:
    """In a file, to the file's folder."""
    settings = of(tmp_path, 'store = "sqlite:///db/shop.db"\n[stores.shared]\nurl = "sqlite:///../shared.db"')
    assert settings.stores["local"].url == f"sqlite:///{tmp_path}/db/shop.db"
    assert settings.stores["shared"].url == f"sqlite:///{tmp_path}/../shared.db"


def test_a_stores_settings_are_read(tmp_path: Path) -> None:
    """By file, variable and code; the local store may have more than its URL."""
    settings = of(
        tmp_path,
        '[stores.local]\npoll = "250ms"\n[stores.shared]\nurl = "postgresql://db/events"\nschema = "events"',
        {
            "PENSTOCK_STORE": "postgresql://db/shop",
            "PENSTOCK_STORES__SHARED__LISTEN_URL": "postgresql://direct/events",
        },
    )
    assert (settings.stores["local"].url, settings.stores["local"].poll) == (
        "postgresql://db/shop",
        timedelta(milliseconds=250),
    )
    assert (settings.stores["shared"].schema, settings.stores["shared"].listen_url) == (
        "events",
        "postgresql://direct/events",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('store = "mysql://db/shop"', "no URL of a store; write sqlite:///shop.db"),
        ('store = "sqlite://"', "sqlite:///shop.db"),
        ('store = "sqlite:///:memory:"', "names no file"),
        ('[stores.shared]\npoll = "1s"', "the store has no database"),
        ('store = "sqlite:///a.db"\n[stores.local]\nurl = "sqlite:///b.db"', "keep one of them"),
        ('[stores."a b"]\nurl = "sqlite:///b.db"', "no name of a store"),
        ('[stores.shared]\nurl = "sqlite:///b.db"\npol = "1s"', "poll"),
    ],
)
def test_what_is_wrong_with_a_store_is_said_before_anything_starts(
    tmp_path: Path, text: str, words: str
) -> None:
    """With the file, the key and the remedy."""
    with pytest.raises(InvalidSettingsError) as caught:
        of(tmp_path, text)
    assert any(words in problem and "penstock.toml" in problem for problem in caught.value.problems)


def test_a_store_may_be_given_as_an_engine(tmp_path: Path) -> None:
    """Of SQLAlchemy; what is neither that nor a URL is refused."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    assert App("shop", store=engine).store().database.shown == f"sqlite:///{tmp_path / 'shop.db'}"
    with pytest.raises(UsageError, match="store= is a int"):
        App("shop", store=3)


def test_other_databases_are_refused() -> None:
    """With what there is instead."""
    with pytest.raises(Exception, match="a store in 'mysql' is not possible; take sqlite"):
        make_backend("local", "mysql://db/shop")


# -- rules ------------------------------------------------------------------------------------------------------------


def add_checkpoint(backend: SqliteBackend, position: int, behind: str = "{}", source: str = "local") -> None:
    """What a projection leaves behind when it has come so far."""
    with closing(backend.database.connect()) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO penstock_checkpoints (projection, kind, source, version, position, behind)"
            " VALUES (?, 'projection', ?, 1, ?, ?)",
            (f"totals of {source}", source, position, behind),
        )


async def test_rules_spare_what_a_projection_has_still_to_read(app: App) -> None:
    """Whether it is declared or not: its checkpoint is in one of the app's databases, and it says how far it is."""
    store = app.store()
    await store.append([OrderPlaced(order_id="1")] * 10)
    await store.set_metadata("order-1", StreamMetadata(max_count=1))
    backend = store.backend
    assert isinstance(backend, SqliteBackend)
    add_checkpoint(backend, 1, source="another store")
    add_checkpoint(backend, 9, behind='{"stream:order-1": 3}')
    assert await store.apply_rules() == 3
    add_checkpoint(backend, 5)
    assert await store.apply_rules() == 2
    add_checkpoint(backend, 10)
    assert await store.apply_rules() == 4


async def test_whoever_keeps_house_applies_the_rules(app: App) -> None:
    """One process at a time, by a lease; stores that were never used are not made by it."""
    await app.store().append([OrderPlaced(order_id="1")] * 10)
    await app.store().set_metadata("order-1", StreamMetadata(max_count=4))
    clock = ManualClock()
    broker = MemoryBroker(clock)
    unused = App("mail", store="sqlite:///not-there.db", broker=broker)

    def keeping() -> Keeping:
        stores = [app.store(), unused.store()]
        return Keeping(app.settings, {"default": broker}, Registry(), clock, stores=lambda: stores)

    first = keeping()
    assert await Ruling().run(first) > timedelta(seconds=10)
    assert len((await app.store().load("order-1")).events) == 4
    await app.store().append([OrderPlaced(order_id="1")] * 5)
    await Ruling().run(keeping())
    assert len((await app.store().load("order-1")).events) == 9
    await Ruling().run(first)
    assert len((await app.store().load("order-1")).events) == 4
    assert not Path("not-there.db").exists()


async def test_reading_by_the_level_below(app: App) -> None:
    """``store.backend`` is there for tools."""
    await app.store().append(OrderPlaced(order_id="1"))
    assert len((await app.store().backend.read(EventFilter(), limit=5)).events) == 1
