"""kill -9 of a process that appends: what was answered is there, and what is there is whole."""

import asyncio
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from penstock.store import EventStore, StoreBackend
from tests.faults.appender import EVENTS


async def append_and_die(url: str, after_lines: int) -> list[str]:
    """Run the process until it has answered so often and a little longer, and kill it; the appends that it answered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.appender", url),
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    answered = [(await process.stdout.readline()).decode().strip() for _ in range(after_lines)]
    process.kill()
    rest, _ = await process.communicate()
    # The last line may be cut off; what it begins was answered all the same, but nobody can say what it was.
    answered += rest.decode().split("\n")[:-1]
    await process.wait()
    return [each for each in answered if each]


@pytest.mark.covers("STORE-1")
@pytest.mark.timeout(300)
async def test_what_was_answered_is_there_and_what_is_there_is_whole(
    store_backend: StoreBackend, store_url: str, torture: bool
) -> None:
    """Processes are killed at random moments, one after the other, on the same store; the long form kills 200."""
    luck = random.Random(4)
    answered: list[str] = []
    for _ in range(200 if torture else 6):
        answered += await append_and_die(store_url, luck.randrange(1, 200))
    appends: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, list[int]] = defaultdict(list)
    async for event in EventStore("local", lambda: store_backend).read():
        append, _, number = event.id.partition("/")
        appends[append].add(number)
        versions[event.stream].append(event.stream_version)
    assert set(answered) <= appends.keys(), "an answer is a promise"
    assert {len(numbers) for numbers in appends.values()} == {EVENTS}, (
        "an append is there as a whole or not at all"
    )
    for stream in versions.values():
        assert stream == list(range(1, len(stream) + 1))
    assert len(answered) > 6
