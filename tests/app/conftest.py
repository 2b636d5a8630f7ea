"""Fixtures of the app's tests: an app on streams in memory, and one on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock import App
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app whose settings come from nowhere but the test."""
    monkeypatch.chdir(tmp_path)
    return App("shop", streams="memory://")


@pytest.fixture
async def shop(app: App) -> AsyncIterator[AppTester]:
    """The app on streams in memory, by a clock that stands still."""
    clock = ManualClock()
    async with AppTester(app, MemoryBroker(clock=clock), clock) as tester:
        yield tester
