"""Testing an app: its own listeners and projections, on streams and stores that need no server, by the test's clock.

```python
@pytest.fixture
def penstock_app():
    return shop.app


async def test_a_placed_order_is_charged(penstock):
    gateway = penstock.provide(PaymentGateway, FakeGateway())
    await penstock.emit(OrderPlaced(order_id="1", customer="ann", total_cents=500))
    await penstock.until_idle()
    assert gateway.charges == [("1", 500)]
    assert await penstock.failed() == []
```

With ``pytest --penstock-real`` the same tests run on an embedded Valkey server and on real time. Event stores are files
of the test's own in both cases: neither the configured databases nor the data folder are touched.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from penstock.app import App
from penstock.clock import Clock, SystemClock, parse_duration
from penstock.message import Message
from penstock.position import BEGINNING
from penstock.store import EventStore
from penstock.store.abc import Appended, StoredEvent
from penstock.streams.abc import FailureRecord, FailureState, StreamBroker
from penstock.streams.publisher import Published
from penstock.testing.clock import ManualClock

__all__ = ["AppTester"]

T = TypeVar("T")

_LONGEST = timedelta(seconds=30)


class AppTester:
    """One app under test. Entering it connects the app to *broker*; leaving it puts everything back.

    Every event store of the app is an empty SQLite file of its own, unless *stores* has a URL under its name: of an
    empty database, which is left as the test leaves it.
    """

    def __init__(
        self,
        app: App,
        broker: StreamBroker,
        clock: Clock | None = None,
        *,
        stores: Mapping[str, str] | None = None,
    ) -> None:
        self.app = app
        self.broker = broker
        self.clock: Clock = clock or SystemClock()
        """A `ManualClock` on memory, the machine's with ``--penstock-real``; see `advance`."""
        self._urls = dict(stores or {})
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-test-")))

        def url_for(name: str) -> str:
            return self._urls.get(name) or f"sqlite:///{folder / quote(name, safe='')}.db"

        await self._stack.enter_async_context(
            self.app.using(broker=self.broker, clock=self.clock, stores=url_for)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # -- what a test does ---------------------------------------------------------------------------------------

    async def emit(self, event: object, **said: Any) -> Published:
        """Write one event; see `App.emit`."""
        emit: Any = self.app.emit  # said without types, either answer is possible
        published: Published = await emit(event, **said)
        return published

    async def emit_many(self, events: Iterable[object], **said: Any) -> list[Published]:
        """Write many events; see `App.emit_many`."""
        return await self.app.emit_many(events, **said)

    async def append(self, *events: object, store: str = "local", **said: Any) -> list[Appended]:
        """Add events to an event store together; see `EventStore.append`."""
        append: Any = self.store(store).append
        added: list[Appended] = await append(list(events), **said)
        return added

    def provide(self, type_: type, value: T) -> T:
        """Give handlers *value* wherever they ask for *type_*, until the test ends."""
        self._stack.enter_context(self.app.override(type_, lambda: value))
        return value

    async def until_idle(self, *, only: Iterable[str] = ()) -> None:
        """Work groups, projections and relays until everything there is has been handled and no retry is due.

        What handlers emit and append is handled too. *only* names groups, projections and relays as in `App.run`.

        Raises:
            TimeoutError: That takes more than 30 seconds of real time.
            ProjectionHaltedError: A projection cannot go past an event: its handler failed, and its policy is to halt.
        """
        async with asyncio.timeout(_LONGEST.total_seconds()):
            await self.app.run(only=tuple(only), until_idle=True)

    async def advance(self, duration: timedelta | str) -> None:
        """Let time pass: the manual clock moves at once; on a real server the test waits."""
        passed = parse_duration(duration)
        if isinstance(self.clock, ManualClock):
            await self.clock.advance(passed)
        else:
            await self.clock.sleep(passed)

    # -- what a test looks at -----------------------------------------------------------------------------------

    def store(self, name: str = "local") -> EventStore:
        """An event store of the app, empty when the test begins. Raises `UnknownStoreError`."""
        return self.app.store(name)

    async def events(self, *streams: str, store: str = "local") -> list[StoredEvent]:
        """Everything in an event store, or in these event streams of it, oldest first."""
        return [event async for event in self.store(store).read(*streams)]

    async def database_url(self, store: str = "local") -> str:
        """The URL of the database that a store is in for this test, with its tables there: for an engine of yours."""
        return (await self.store(store).open()).database.url

    async def rows(self, sql: str, *parameters: object, store: str = "local") -> list[tuple[Any, ...]]:
        """What a query finds in the database of a store: read models, above all. Parameters are written ``?``."""
        backend = await self.store(store).open()

        def query() -> list[tuple[Any, ...]]:
            database = backend.database
            with contextlib.closing(database.connect(application="penstock tests")) as connection:
                return [tuple(row) for row in database.execute(connection, sql, parameters).fetchall()]

        return await asyncio.to_thread(query)

    async def failed(
        self, *, listener: str | None = None, state: FailureState | None = None
    ) -> list[FailureRecord]:
        """The failure records there are, of all streams, those waiting for their next run included."""
        found: list[FailureRecord] = []
        for stream in await self.broker.streams():
            page = await self.broker.failures.find(stream, listener=listener, state=state, count=1000)
            while page:
                found += page
                page = await self.broker.failures.find(
                    stream, listener=listener, state=state, count=1000, after=page[-1].key
                )
        return sorted(found, key=lambda record: (record.last_failed, record.key))

    async def messages(self, stream: str) -> list[Message]:
        """Everything in a stream, oldest first."""
        reader = await self.app.reader(stream, start=BEGINNING, count=1000)
        found: list[Message] = []
        while page := await reader.read():
            found += page
        return found

    async def pending(self, stream: str, group: str) -> int:
        """How many entries of a group are delivered and not settled."""
        return (await self.broker.pending_summary(stream, group)).count
