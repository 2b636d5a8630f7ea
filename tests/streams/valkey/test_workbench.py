"""Edits and notes at the server's memory limit: refused whole, and nothing was changed."""

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from penstock.errors import BrokerFullError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Edited, FailureKey, ListenerFailure, NewEntry, Settled
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]

FAILURE = ListenerFailure("charge", "error", "ValueError", "boom", "", due_in=None)


@pytest.mark.covers("LEAD-7", "GROUP-15")
async def test_at_the_memory_limit_an_edit_changes_nothing(
    start_server: Start, namespace: str, connect: Connect
) -> None:
    """Neither payload nor original nor log; what was edited before can still be forgotten there."""
    server = start_server()
    broker = await connect(server.url, namespace=namespace)
    await broker.create_group("orders", "billing", BEGINNING)
    entry_id = await broker.append(NewEntry("orders", [b"n", b"1"]))
    await broker.read_group("billing", "ann", ["orders"], count=1)
    settled = await broker.failures.settle("orders", "billing", "ann", entry_id, [b"n", b"1"], [FAILURE])
    assert settled is Settled.DONE
    key = FailureKey("orders", "billing", EntryId.parse(entry_id), "charge")
    before = await broker.failures.get(key)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        await admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerFullError):
            await broker.failures.edit(key, [b"n", b"2"], who="ann", why="w")
        with pytest.raises(BrokerFullError):
            await broker.notes.add("orders", who="ann", what="edit", which="", why="", count=1)
        assert await broker.failures.get(key) == before
        assert await broker.notes.latest("orders") == []
        await admin.config_set("maxmemory", 0)
        assert await broker.failures.edit(key, [b"n", b"2"], who="ann", why="w") is Edited.DONE
        await admin.config_set("maxmemory", 1)
        assert await broker.failures.delete(key) is True
        assert await broker.failures.groups_of("orders", key.entry_id) == []
        await admin.config_set("maxmemory", 0)
