"""A store in a file, streams in memory, and relays between them, run by hand until nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from penstock.event import event_type
from penstock.message import Message, Meta, new_event_id
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, Outcome, ProjectionRun, Supervised
from penstock.projections.abc import Handlers
from penstock.relays._bridge import Bridge
from penstock.relays._copying import CopyHandlers
from penstock.relays._packing import Packing
from penstock.relays._publishing import PublishHandlers
from penstock.relays._sink import StreamSink
from penstock.relays._stream_source import StreamSource
from penstock.relays._taking import TakeHandlers
from penstock.relays.abc import RelayPlan, stream_in
from penstock.store import migrating
from penstock.store.abc import Append, Appended, NewEvent, StoreBackend
from penstock.store.backends import make_backend
from penstock.streams.abc import StreamBroker
from penstock.streams.layouts import NATIVE, Layouts
from penstock.streams.memory import MemoryBroker
from penstock.streams.partitioned import Partitioned
from penstock.streams.valkey import ValkeyBroker
from tests.fixtures_postgres import databases_in
from tests.projections.engine.doubles import to_the_end
from tests.streams.valkey.clusters import RealCluster
from tests.streams.valkey.servers import RealServer, valkey_binary


def _meta(key: str | None = "1", **how: Any) -> Meta:
    return Meta(time=1_000_000, key=key, **how)


def new_event(name: str = "order.placed", *, stream: str = "order-1", **how: Any) -> NewEvent:
    """An event for a store."""
    data = how.pop("data", b'{"n": 1}')
    event_id = how.pop("id", None) or new_event_id()
    return NewEvent(stream, event_id, name, _meta(**how), data)


async def append(store: StoreBackend, *events: NewEvent) -> list[Appended]:
    """Append events in one go."""
    outcome = await store.append(Append(events))
    assert isinstance(outcome, list)
    return outcome


async def messages(broker: StreamBroker, stream: str) -> list[Message]:
    """What is in a stream."""
    return [NATIVE.read(stream, entry_id, fields) for entry_id, fields in await broker.range(stream)]


async def names_in(broker: StreamBroker, stream: str) -> list[str]:
    """The ids of the events in a stream, in order."""
    return [message.id for message in await messages(broker, stream)]


def _without_cap(_: str) -> None:
    return None


class Relaying:
    """Makes relays of plans and runs them to the end, as the supervisor does in its threads."""

    def __init__(
        self,
        stores: Mapping[str, StoreBackend],
        broker: StreamBroker,
        *,
        partitions: Mapping[str, int] | None = None,
        layouts: Layouts | None = None,
        **how: Any,
    ) -> None:
        self.stores = stores
        self.broker = broker
        self.layouts = layouts or Layouts()
        self.partitioned = Partitioned(partitions, lambda _: self.broker) if partitions else None
        self.how = how

    def handlers(self, plan: RelayPlan) -> Handlers:
        """What the engine runs."""
        if plan.kind == "store to store":
            return CopyHandlers(plan, source=self.stores[plan.source], target=self.stores[plan.target])
        if plan.kind == "stream to store":
            return TakeHandlers(plan, source=self.source(plan), target=self.stores[plan.target])
        return PublishHandlers(
            plan,
            source=self.stores[plan.source],
            packing=Packing(plan, layouts=self.layouts, max_body=self.how.get("max_body", 1024 * 1024)),
            sink=StreamSink(
                broker_for=lambda _: self.broker,
                cap_for=self.how.get("cap_for", _without_cap),
                partitioned=self.partitioned,
            ),
            bridge=Bridge(asyncio.get_running_loop()),
        )

    def source(self, plan: RelayPlan) -> StreamSource:
        """The stream that a relay reads."""
        return StreamSource(
            stream_in(plan.source) or "",
            self.broker,
            layouts=self.layouts,
            bridge=Bridge(asyncio.get_running_loop()),
            open_archive=self.how.get("open_archive") if plan.archive else None,
        )

    def run(self, plan: RelayPlan) -> ProjectionRun:
        """One run of a relay, not begun."""
        engine_plan = plan.engine_plan()
        is_stream = stream_in(plan.source) is not None
        reader = self.source(plan).reader if is_stream else self.stores[plan.source].reader
        return ProjectionRun(
            Supervised(engine_plan, self.handlers(plan)),
            self.stores[engine_plan.target].database,
            reader,
            LeaseTerms(),
            lambda: False,
        )

    async def catch_up(self, plan: RelayPlan) -> Outcome:
        """Run a relay until nothing is left, or it stands."""
        return await to_the_end(self.run(plan))

    async def finish(self, plan: RelayPlan) -> int:
        """Run a relay to the end; its position."""
        outcome = await self.catch_up(plan)
        assert isinstance(outcome, CaughtUp), outcome
        return outcome.position


@asynccontextmanager
async def opened_store(name: str, url: str) -> AsyncIterator[StoreBackend]:
    """An empty store with its tables."""
    store = make_backend(name, url)
    await asyncio.to_thread(migrating.apply, store.database)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


SURROUNDINGS = [("sqlite", "memory"), ("sqlite", "valkey"), ("sqlite", "cluster"), ("postgresql", "valkey")]


@pytest.fixture(params=SURROUNDINGS, ids=["-".join(each) for each in SURROUNDINGS])
def surroundings(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the stores are in, and what the streams."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def databases(
    request: pytest.FixtureRequest, surroundings: tuple[str, str], tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Gives the URL of a new database."""
    if surroundings[0] == "sqlite":
        yield lambda name: f"sqlite:///{tmp_path}/{name}.db"
        return
    with databases_in(request.getfixturevalue("postgres_server")) as make:
        yield lambda _: make()


@pytest.fixture
async def local(databases: Callable[[str], str]) -> AsyncIterator[StoreBackend]:
    """An empty store."""
    async with opened_store("local", databases("local")) as store:
        yield store


@pytest.fixture
async def shared(databases: Callable[[str], str]) -> AsyncIterator[StoreBackend]:
    """Another one."""
    async with opened_store("shared", databases("shared")) as store:
        yield store


@pytest.fixture(scope="session")
def relay_server() -> Iterator[RealServer]:
    """A server of the tests of this folder."""
    server = RealServer(valkey_binary()).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def relay_cluster() -> Iterator[RealCluster]:
    """A cluster of the tests of this folder."""
    cluster = RealCluster()
    yield cluster
    cluster.remove()


@pytest.fixture
async def broker(
    request: pytest.FixtureRequest, surroundings: tuple[str, str]
) -> AsyncIterator[StreamBroker]:
    """Streams of nobody else."""
    if surroundings[1] == "memory":
        yield MemoryBroker()
        return
    name = "relay_server" if surroundings[1] == "valkey" else "relay_cluster"
    opened = ValkeyBroker(request.getfixturevalue(name).url, namespace=uuid4().hex)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def relaying(local: StoreBackend, shared: StoreBackend, broker: StreamBroker) -> Relaying:
    """Relays between the two stores and the streams."""
    return Relaying({"local": local, "shared": shared}, broker)


def types_of(*classes: type) -> dict[str, Any]:
    """Declarations by event name."""
    return {event_type(each).name: event_type(each) for each in classes}


Declare = Callable[..., RelayPlan]
