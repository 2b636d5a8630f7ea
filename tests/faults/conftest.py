"""Fixtures of the fault tests: real servers, and processes that die where they are told to."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.streams.embedded import use_server
from penstock.streams.valkey import ValkeyBroker
from tests.faults.ledger import Ledger


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server for this test process."""
    with use_server(Path(tmp_path_factory.mktemp("server")), linger=timedelta(0)) as server:
        yield server.url


@pytest.fixture
async def ledger(server_url: str) -> AsyncIterator[Ledger]:
    """A namespace of its own on the server, with an account of what handlers did."""
    namespace = f"faults-{uuid.uuid4().hex[:12]}"
    broker = ValkeyBroker(server_url, namespace=namespace)
    await broker.open()
    yield Ledger(server_url, namespace, broker)
    for stream in await broker.streams():
        await broker.delete_stream(stream)
    await broker.close()
