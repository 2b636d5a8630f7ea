"""Apps on real databases of both kinds for the tests of replays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penstock import App
from penstock.store import make_backend
from penstock.store.migrating import apply
from tests.replays.core.shop import make_app

MakeApp = Callable[..., Any]


@pytest.fixture
async def migrated(store_url: str) -> str:
    """The URL of a database with our tables in it."""
    backend = make_backend("local", store_url)
    await asyncio.to_thread(apply, backend.database)
    return store_url


@pytest.fixture
async def new_app(migrated: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes an open app with the shop's projections on the database of the test; closed at its end."""
    async with AsyncExitStack() as stack:

        async def made(**options: Any) -> App:
            return await stack.enter_async_context(make_app(migrated, **options))

        yield made
