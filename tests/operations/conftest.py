"""A shop in trouble: an app on streams in memory or on a real server, with listeners that can be made to fail."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock import App, Event, Message, Retry
from penstock.operations import Operations
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.streams.valkey import ValkeyBroker
from penstock.testing import ManualClock


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str
    total_cents: int = 100


class OrderShipped(Event, name="order.shipped", key="order_id"):
    """An order went out."""

    order_id: str


@dataclass
class Shop:
    """The app, and what its listeners did and shall do."""

    app: App
    broker: StreamBroker
    clock: ManualClock | None
    broken: set[str] = field(default_factory=set[str])
    """Listeners that fail at present."""
    runs: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Listener and order of every run."""

    def __post_init__(self) -> None:
        once = Retry(attempts=1)
        for group, event in (("billing", OrderPlaced), ("mail", OrderPlaced), ("mail", OrderShipped)):
            declared = self.app.registry.groups.get(group) or self.app.group(group, retry=once)
            declared.on(event, name=f"{group}.{event.__name__}")(self._listener(f"{group}.{event.__name__}"))

    def _listener(self, name: str) -> Any:
        async def listen(message: Message) -> None:
            self.runs.append((name, message.get("order_id")))
            if name in self.broken:
                raise ValueError(f"{name} cannot do {message.get('order_id')}")

        return listen

    @property
    def operations(self) -> Operations:
        """Operations on the app."""
        return Operations(self.app)

    async def place(self, *order_ids: str) -> None:
        """Emit orders."""
        await self.app.emit_many([OrderPlaced(order_id=each) for each in order_ids])

    async def work(self) -> None:
        """Work until nothing is left to do."""
        await self.app.run(until_idle=True)

    async def failing(self, listener: str, *order_ids: str) -> None:
        """Emit orders, and have them handled by a listener that fails."""
        self.broken.add(listener)
        await self.place(*order_ids)
        await self.work()
        self.broken.discard(listener)
        self.runs.clear()


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture(params=["memory", "valkey"])
async def shop(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    """A shop in memory, where time stands still, and one on a real server."""
    monkeypatch.chdir(tmp_path)
    if request.param == "memory":
        broker: Any = MemoryBroker(server=MemoryServer(clock))
        made = Shop(App("shop", broker=broker, clock=clock), broker, clock)
    else:
        url = request.getfixturevalue("server_url")
        broker = ValkeyBroker(url, namespace=f"operations-{uuid.uuid4().hex[:12]}")
        made = Shop(App("shop", broker=broker), broker, None)
    async with made.app:
        yield made
        for stream in await broker.streams():
            await broker.delete_stream(stream)
    await broker.close()
