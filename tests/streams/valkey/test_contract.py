"""The promise of a streams backend, kept on real servers: the newest and the oldest, on both kinds of wire, alone, as a
cluster, and with Sentinels.
"""

from collections.abc import AsyncIterator, Callable

import pytest

from penstock.streams.valkey import ValkeyBroker
from penstock.testing.contracts import (
    FailureStoreContract,
    FigureStoreContract,
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
from tests.streams.valkey.conftest import PlainBroker
from tests.streams.valkey.servers import PRODUCTS, RealServer, redis7_binary

BACKENDS = [
    *((product, "adopted") for product in PRODUCTS),
    ("valkey", "plain"),
    ("cluster", "adopted"),
    ("sentinel", "adopted"),
    *([("redis7", "adopted")] if redis7_binary() else []),
]


@pytest.fixture(params=BACKENDS, ids=["-".join(backend) for backend in BACKENDS])
async def broker(
    request: pytest.FixtureRequest, namespace: str, get_server: Callable[[str], RealServer]
) -> AsyncIterator[ValkeyBroker]:
    """An open broker on a namespace of its own."""
    product, wire = request.param
    opened = (PlainBroker if wire == "plain" else ValkeyBroker)(get_server(product).url, namespace=namespace)
    await opened.open()
    yield opened
    await opened.close()


class TestBroker(StreamBrokerContract):
    """Streams and groups."""


class TestFailures(FailureStoreContract):
    """Records of failed messages."""


class TestRemovals(RemovalStoreContract, FloorContract):
    """What may be removed."""


class TestPartitions(PartitionStoreContract):
    """Layouts, marks and routes."""


class TestRelays(RelayStoreContract):
    """Relays into streams."""


class TestHistory(HistoryStoreContract):
    """The index of entries by event name and identifier."""


class TestSchedule(ScheduleStoreContract):
    """What enters a stream later."""


class TestValues(ValueStoreContract):
    """Small values by key."""


class TestLeases(LeaseStoreContract):
    """Timed ownership."""


class TestMembers(MemberStoreContract):
    """Who shares the work of a group."""


class TestLanes(LaneStoreContract):
    """Ordered settling and parking."""


class TestNotes(NoteStoreContract):
    """What people did."""


class TestFigures(FigureStoreContract):
    """What handlers did."""
