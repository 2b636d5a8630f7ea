"""Anything happens in any order to the memory backend, and no entry is ever lost or in two places."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import settings

from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock
from penstock.testing.contracts.stateful import broker_machine

# A failure is worth waiting for: Hypothesis takes its time to find the shortest way to it.
pytestmark = [pytest.mark.covers("GROUP-2", "FAIL-1"), pytest.mark.timeout(600)]


@asynccontextmanager
async def _memory() -> AsyncIterator[StreamBroker]:
    yield MemoryBroker(ManualClock())


TestMemoryStateMachine = broker_machine(_memory).TestCase
TestMemoryStateMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
