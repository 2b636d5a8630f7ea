"""Owners of a lane come and go in any order on the memory backend: one has it, and only its word counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import settings

from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock
from penstock.testing.contracts import PassTime
from penstock.testing.contracts.stateful_lanes import lane_machine

pytestmark = [pytest.mark.covers("GROUP-5", "LEAD-7"), pytest.mark.timeout(600)]


@asynccontextmanager
async def _memory() -> AsyncIterator[tuple[StreamBroker, PassTime]]:
    clock = ManualClock()
    yield MemoryBroker(clock), clock.advance


TestMemoryLaneMachine = lane_machine(_memory).TestCase
TestMemoryLaneMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
