"""Events that come at a time, an app on memory that has them, and clocks to go by: what the tests of it share."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from penstock import App, Event, Message
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import AppTester, ManualClock

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class JumpingClock(ManualClock):
    """A clock that somebody sets."""

    jump = timedelta(0)

    def time_us(self) -> int:
        """As it was set."""
        return super().time_us() + self.jump // timedelta(microseconds=1)


class Reminded(Event, name="reminded", key="who", history=True):
    """Somebody was reminded."""

    who: str


class Tidied(Event, name="tidied"):
    """It was tidied up."""

    number: int = 0


@contextlib.asynccontextmanager
async def on_memory(app: App, server: MemoryServer | None = None) -> AsyncIterator[AppTester]:
    """The app on memory, by a clock of the test."""
    clock = ManualClock(BEGIN)
    broker = MemoryBroker(server=server) if server is not None else MemoryBroker(clock)
    async with AppTester(app, broker, clock) as tester:
        yield tester


def heard(app: App) -> list[Message]:
    """What a listener of everything in the test is given."""
    found: list[Message] = []

    @app.listener("reminded", "tidied")
    async def hear(message: Message) -> None:
        found.append(message)

    return found
