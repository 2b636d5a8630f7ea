"""The memory backend keeps every promise of a streams backend, on a clock that the test owns."""

import pytest

from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock
from penstock.testing.contracts import FailureStoreContract, PassTime, StreamBrokerContract


class OnMemory:
    """A fresh broker for each test, and time that passes when it is told to."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of the broker."""
        return ManualClock()

    @pytest.fixture
    def broker(self, clock: ManualClock) -> StreamBroker:
        """An empty broker."""
        return MemoryBroker(clock)

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> PassTime:
        """Nobody waits for real."""
        return clock.advance


class TestMemoryBroker(OnMemory, StreamBrokerContract):
    """`MemoryBroker` as a `StreamBroker`."""


class TestMemoryFailures(OnMemory, FailureStoreContract):
    """The failure records of `MemoryBroker` as a `FailureStore`."""
