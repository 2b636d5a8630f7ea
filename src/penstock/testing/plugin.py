"""The pytest plugin: the fixture ``penstock``, and the option ``--penstock-real``.

It is loaded by every pytest run where penstock is installed, so servers and drivers are imported when first used.
"""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.testing.harness import AppTester

__all__ = ["penstock", "penstock_app", "penstock_server", "penstock_stores"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--penstock-real``."""
    parser.getgroup("penstock").addoption(
        "--penstock-real",
        action="store_true",
        help="run tests that use the penstock fixture on an embedded server instead of in memory",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark that the shipped contract suites carry."""
    config.addinivalue_line("markers", "covers(*ids): the promises that a test proves")


@pytest.fixture
def penstock_app() -> "App":
    """The app under test: override this fixture in your conftest.py."""
    raise pytest.UsageError(
        "the penstock fixture does not know your app; write in conftest.py:\n\n"
        "    @pytest.fixture\n    def penstock_app():\n        from shop import app\n        return app\n"
    )


@pytest.fixture(scope="session")
def penstock_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str | None]:
    """The URL of the embedded server with ``--penstock-real``, else ``None``."""
    if not request.config.getoption("--penstock-real"):
        yield None
        return
    from penstock.streams.embedded import use_server

    with use_server(Path(tmp_path_factory.mktemp("penstock")), linger=timedelta(0)) as server:
        yield server.url


@pytest.fixture
def penstock_stores() -> Mapping[str, str]:
    """URLs of empty databases for event stores, by name; the others are SQLite files of the test's own."""
    return {}


async def _tester(app: "App", server: str | None, stores: Mapping[str, str]) -> "AsyncIterator[AppTester]":
    from penstock.testing.clock import ManualClock
    from penstock.testing.harness import AppTester

    if server is None:
        from penstock.streams.memory import MemoryBroker

        clock = ManualClock()
        async with AppTester(app, MemoryBroker(clock=clock), clock, stores=stores) as tester:
            yield tester
        return
    from penstock.streams.valkey import ValkeyBroker

    broker = ValkeyBroker(server, namespace=f"test-{uuid.uuid4().hex}")
    await broker.open()
    try:
        async with AppTester(app, broker, stores=stores) as tester:
            yield tester
    finally:
        for stream in await broker.streams():
            await broker.delete_stream(stream)
        await broker.close()


async def _penstock(
    penstock_app: "App", penstock_server: str | None, penstock_stores: Mapping[str, str]
) -> "AsyncIterator[AppTester]":
    """The app of ``penstock_app`` on streams in memory, with a manual clock; see `penstock.testing.AppTester`."""
    async for tester in _tester(penstock_app, penstock_server, penstock_stores):
        yield tester


def _fixture() -> Any:
    # pytest-asyncio where it is installed; anyio's plugin takes plain async fixtures by itself.
    try:
        import pytest_asyncio
    except ImportError:
        return pytest.fixture
    return pytest_asyncio.fixture


penstock: Any = _fixture()(name="penstock")(_penstock)
"""The app of ``penstock_app`` on streams in memory; an `AppTester`."""
