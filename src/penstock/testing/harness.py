"""Testing an app: its own listeners, on streams that need no server, with a clock that the test owns.

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

With ``pytest --penstock-real`` the same tests run on an embedded Valkey server and on real time.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from penstock.app import App
from penstock.clock import Clock, SystemClock, parse_duration
from penstock.message import Message
from penstock.position import BEGINNING
from penstock.streams.abc import FailureRecord, FailureState, StreamBroker
from penstock.streams.publisher import Published
from penstock.testing.clock import ManualClock

__all__ = ["AppTester"]

T = TypeVar("T")

_LONGEST = timedelta(seconds=30)


class AppTester:
    """One app under test. Entering it connects the app to *broker*; leaving it puts everything back."""

    def __init__(self, app: App, broker: StreamBroker, clock: Clock | None = None) -> None:
        self.app = app
        self.broker = broker
        self.clock: Clock = clock or SystemClock()
        """A `ManualClock` on memory, the machine's with ``--penstock-real``; see `advance`."""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.app.using(broker=self.broker, clock=self.clock))
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

    def provide(self, type_: type, value: T) -> T:
        """Give handlers *value* wherever they ask for *type_*, until the test ends."""
        self._stack.enter_context(self.app.override(type_, lambda: value))
        return value

    async def until_idle(self, *, only: Iterable[str] = ()) -> None:
        """Work until everything emitted so far has been handled and no retry is due.

        What handlers emit is handled too. Raises `TimeoutError` when that takes more than 30 seconds of real time.
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
