"""Fixtures of the layouts' tests: an app, and the other side of its streams, on memory and on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from penstock import App
from penstock.streams.abc import NewEntry, StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.streams.valkey import ValkeyBroker


class OtherSide:
    """The program on the other side of a stream: adds entries and looks at them, and knows nothing of ours."""

    def __init__(self, broker: StreamBroker, client: Redis | None, namespace: str) -> None:
        self.broker = broker
        self._client = client
        self._namespace = namespace

    async def add(self, stream: str, fields: list[bytes]) -> None:
        """``XADD``, with nothing around it."""
        if self._client is None:
            await self.broker.append(NewEntry(stream, fields))
        else:
            await self._client.execute_command("XADD", f"{self._namespace}:{stream}", "*", *fields)  # type: ignore[no-untyped-call]

    async def entries(self, stream: str) -> list[list[bytes]]:
        """The fields of every entry, as they lie on the server."""
        return [entry[1] for entry in await self.broker.range(stream)]


@pytest.fixture(params=["memory", "valkey"])
async def other_side(request: pytest.FixtureRequest) -> AsyncIterator[OtherSide]:
    """The other side, on streams in memory or on a server, reached by a bare client."""
    if request.param == "memory":
        memory = MemoryBroker()
        await memory.open()
        yield OtherSide(memory, None, "")
        await memory.close()
        return
    url, namespace = request.getfixturevalue("server_url"), uuid4().hex
    broker = ValkeyBroker(url, namespace=namespace)
    await broker.open()
    async with Redis.from_url(url) as client:
        yield OtherSide(broker, client, namespace)
    await broker.close()


@pytest.fixture
async def app(other_side: OtherSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """An app on the same server."""
    monkeypatch.chdir(tmp_path)
    shop = App("shop", broker=other_side.broker)
    yield shop
    await shop.close()
