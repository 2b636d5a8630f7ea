"""Anything may happen in any order on a real server, and it stays in step with a plain model."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from penstock.streams.valkey import ValkeyBroker
from penstock.testing.contracts.stateful import broker_machine
from tests.streams.valkey.servers import PRODUCTS, RealServer


@pytest.mark.covers("GROUP-15", "FAIL-1")
@pytest.mark.torture
@pytest.mark.parametrize("backend", [*PRODUCTS, "cluster"])
def test_a_real_server_agrees_with_the_model(
    backend: str, get_server: Callable[[str], RealServer], namespace: str, torture: bool
) -> None:
    """Entries are in exactly one place after every step, whoever reads, claims, fails, retries, deletes or crashes."""
    numbers, server = count(), get_server(backend)

    @asynccontextmanager
    async def connect() -> AsyncIterator[ValkeyBroker]:
        broker = ValkeyBroker(server.url, namespace=f"{namespace}-{next(numbers)}")
        await broker.open()
        yield broker
        await broker.close()

    run_state_machine_as_test(
        broker_machine(connect),
        settings=settings(
            max_examples=1000 if torture else 20,
            stateful_step_count=60 if torture else 30,
            deadline=None,
        ),
    )
