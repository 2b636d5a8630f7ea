"""The memory backend keeps every promise of a streams backend, on a clock that the test owns."""

import pytest

from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock
from penstock.testing.contracts import (
    FailureStoreContract,
    FigureStoreContract,
    PassTime,
    RemovalStoreContract,
    StreamBrokerContract,
    ValueStoreContract,
)
from penstock.testing.contracts.floors import FloorContract
from penstock.testing.contracts.history import HistoryStoreContract
from penstock.testing.contracts.lanes import LaneStoreContract
from penstock.testing.contracts.leases import LeaseStoreContract, MemberStoreContract
from penstock.testing.contracts.notes import NoteStoreContract
from penstock.testing.contracts.partitions import PartitionStoreContract
from penstock.testing.contracts.relays import RelayStoreContract
from penstock.testing.contracts.schedule import ScheduleStoreContract


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


class TestMemoryRemovals(OnMemory, RemovalStoreContract, FloorContract):
    """What may be removed from the streams of `MemoryBroker`, as a `RemovalStore`."""


class TestMemoryPartitions(OnMemory, PartitionStoreContract):
    """The layouts of `MemoryBroker` as a `PartitionStore`."""


class TestMemoryRelays(OnMemory, RelayStoreContract):
    """Relays into the streams of `MemoryBroker`, as a `RelayStore`."""


class TestMemoryHistory(OnMemory, HistoryStoreContract):
    """The index of entries by event name and identifier."""


class TestMemoryValues(OnMemory, ValueStoreContract):
    """Small values by key."""


class TestMemorySchedule(OnMemory, ScheduleStoreContract):
    """What enters a stream later."""


class TestMemoryLeases(OnMemory, LeaseStoreContract):
    """The leases of `MemoryBroker` as a `LeaseStore`."""


class TestMemoryMembers(OnMemory, MemberStoreContract):
    """The members of `MemoryBroker` as a `MemberStore`."""


class TestMemoryLanes(OnMemory, LaneStoreContract):
    """Ordered settling and parking on `MemoryBroker`, as a `LaneStore`."""


class TestMemoryNotes(OnMemory, NoteStoreContract):
    """What people did."""


class TestMemoryFigures(OnMemory, FigureStoreContract):
    """What handlers did."""
