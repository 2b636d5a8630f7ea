"""Fixtures of the housekeeping tests: streams in memory, by a clock that the test owns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock._housekeeping import Keeping
from penstock.config import load_settings
from penstock.listeners.registry import Registry
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> StreamBroker:
    """Streams in memory."""
    return MemoryBroker(clock)


@pytest.fixture
def keep(tmp_path: Path, broker: StreamBroker, clock: ManualClock) -> Callable[..., Keeping]:
    """Makes a process that keeps house by the given settings of streams."""

    def make(*, is_embedded: bool = False, **streams: dict[str, Any]) -> Keeping:
        settings = load_settings(code={"stream": streams}, start=tmp_path, environ={})
        return Keeping(settings, {"default": broker}, Registry(), clock, is_embedded=is_embedded)

    return make
