"""The guide of the shared event store from end to end: service A produces, B consumes, each with its database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock import App, Event
from penstock.operations import Operations
from penstock.projections import PayloadMapper, Rows
from penstock.store.abc import StoredEvent
from tests.fixtures_postgres import PostgresServer, new_database

USERS, PROFILES = "boilerplate-users-stream", "buyer-search_profiles-stream"

PRODUCER = """
store = "{local}"
streams = "memory://"

[stores.shared]
url = "{shared}"

[projections.producing.boilerplate-users-projection]
stream_name = "boilerplate-users-stream"

[projections.producing.boilerplate-projects-projection]
stream_name = "boilerplate-users-stream"
background_process = false

[projections.producing.search_profiles-projection]
stream_name = "buyer-search_profiles-stream"
background_process = true
"""

CONSUMER = """
store = "{local}"
streams = "memory://"

[stores.shared]
url = "{shared}"

[projections.consuming.buyer-search_profile-projection]
stream_names = ["buyer-search_profiles-stream"]
environment = "shared"
handler = "tests.relays.test_guide:BuyerSearchProfileCreatedEventHandler"

[projections.consuming.local-on-demand-projection]
stream_names = ["buyer-search_profiles-stream"]
environment = "local"
handler = "tests.relays.test_guide:LocalHandler"
background_process = false

[projections.consuming.local-long-running-projection]
stream_names = ["buyer-search_profiles-stream"]
environment = "local"
handler = "tests.relays.test_guide:LocalHandler"
background_process = true

[projections.consuming.users-projection]
stream_name = "boilerplate-users-stream"
environment = "shared"
handler = "tests.relays.test_guide:note_user"
background_process = false
"""


class SearchProfileCreated(Event, name="Buyer.SearchProfileCreated", key="profile_id"):
    """A buyer looks for rooms."""

    profile_id: str
    room_min_size: int


class UserRegistered(Event, name="Users.UserRegistered", key="user_id"):
    """Somebody is there."""

    user_id: str


class BuyerSearchProfileCreatedEventMapper(PayloadMapper):
    """Typed getters, one of them with a default."""

    @property
    def room_min_size(self) -> int:
        """How large it is at least."""
        size: int = self.get("room_min_size")
        return size

    @property
    def room_max_size(self) -> int:
        """How large it is at most."""
        size: int = self.get_or_default("room_max_size", 0)
        return size


class BuyerSearchProfileCreatedEventHandler:
    """Keeps the profiles of the other service."""

    def handle(self, profile: BuyerSearchProfileCreatedEventMapper, event: StoredEvent, rows: Rows) -> None:
        """Count each event, and what it says."""
        rows.increment(
            "seen",
            {"event_id": event.id, "source": "shared"},
            times=1,
            size=profile.room_min_size + profile.room_max_size,
        )


class LocalHandler:
    """Keeps the service's own."""

    def handle(self, event: StoredEvent, rows: Rows) -> None:
        """Count each event."""
        rows.increment("seen", {"event_id": event.id, "source": "local"}, times=1, size=0)


def note_user(event: StoredEvent, rows: Rows) -> None:
    """Count each event."""
    rows.increment("seen", {"event_id": event.id, "source": "users"}, times=1, size=0)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives the URL of a new database."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda _: new_database(server)


@pytest.fixture
async def services(
    databases: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[App, App]]:
    """Service A and service B, each in its folder with its settings, over one shared store."""
    shared = databases("shared")
    apps: list[App] = []
    async with contextlib.AsyncExitStack() as stack:
        for name, settings in (("producer", PRODUCER), ("consumer", CONSUMER)):
            folder = tmp_path / name
            (folder / ".git").mkdir(parents=True)
            (folder / "penstock.toml").write_text(settings.format(local=databases(name), shared=shared))
            monkeypatch.chdir(folder)
            app = App(name)
            assert app.settings.stores["shared"].url
            await Operations(app).databases.migrate()
            apps.append(await stack.enter_async_context(app))
        database = apps[1].store().database
        with contextlib.closing(database.connect()) as connection:
            database.execute(
                connection,
                "CREATE TABLE seen (event_id text, source text, times integer NOT NULL, size integer NOT NULL, "
                "PRIMARY KEY (event_id, source))",
            )
            connection.commit()
        yield apps[0], apps[1]


def seen(app: App) -> dict[tuple[str, str], tuple[int, int]]:
    """The read model of the consumer: how often each event was handled, and with what."""
    database = app.store().database
    with contextlib.closing(database.connect()) as connection:
        rows = database.execute(connection, "SELECT event_id, source, times, size FROM seen").fetchall()
    return {(event_id, source): (times, size) for event_id, source, times, size in rows}


@contextlib.asynccontextmanager
async def running(*apps: App) -> AsyncIterator[None]:
    """The apps run within the block."""
    runners = [await app.runner() for app in apps]
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        for runner in runners:
            await runner.wait_ready()
        yield
    finally:
        for runner in runners:
            runner.stop()
        await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something, half a minute at most."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.covers("STORE-5", "PROJ-1", "PROJ-2", "PROJ-3", "PROJ-10")
async def test_one_service_produces_and_another_consumes(services: tuple[App, App]) -> None:
    """Always running and on demand, local and shared, side by side: every event once into B's own read model, also what
    was appended while nothing ran; what is local to a service stays there.
    """
    producer, consumer = services

    async def produce(count: int) -> None:
        for number in range(count):
            user = await producer.store().append(UserRegistered(user_id=str(number)), event_stream=USERS)
            profile = await producer.store().append(
                SearchProfileCreated(profile_id=str(number), room_min_size=number), event_stream=PROFILES
            )
            own = await consumer.store().append(
                SearchProfileCreated(profile_id=str(number), room_min_size=number), event_stream=PROFILES
            )
            expected[user.event_id, "users"] = (1, 0)
            expected[profile.event_id, "shared"] = (1, number)
            # Two projections keep what is local, one that stays and one on demand.
            expected[own.event_id, "local"] = (2, 0)
        await producer.store().append(UserRegistered(user_id="private"), event_stream="private-stream")

    expected: dict[tuple[str, str], tuple[int, int]] = {}
    await produce(5)
    async with running(producer, consumer):
        await until(lambda: seen(consumer) == expected)
        await produce(20)
        await until(lambda: seen(consumer) == expected)
    await produce(5)
    async with running(consumer), running(producer):
        await until(lambda: seen(consumer) == expected)
    await consumer.run(until_idle=True)
    assert seen(consumer) == expected

    shared = [event async for event in consumer.store("shared").read()]
    assert sorted(event.id for event in shared) == sorted(
        event_id for event_id, source in expected if source != "local"
    )
    for stream in (USERS, PROFILES):
        produced = [event.id async for event in producer.store().read(stream)]
        assert [event.id for event in shared if event.stream == stream] == produced
