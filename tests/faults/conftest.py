"""Fixtures of the fault tests: real servers, and processes that die where they are told to."""

import uuid
from collections.abc import AsyncIterator

import pytest

from penstock.streams.valkey import ValkeyBroker
from tests.faults.ledger import Ledger


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
