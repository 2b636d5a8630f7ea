"""What the parts of the suites share: fixtures with their defaults, names that are hard on a backend, short hands."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar

import pytest

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Batch, NewEntry, RawEntry, RawId, StreamBroker

__all__ = [
    "AGES",
    "FIELDS",
    "MOMENT",
    "NAMES",
    "NOW",
    "PATIENCE",
    "Contract",
    "PassTime",
    "add",
    "deliver",
    "entry",
    "fields_of",
    "ids_of",
    "numbered",
    "parsed",
    "started",
    "within",
]

R = TypeVar("R")

PassTime: TypeAlias = Callable[[timedelta], Awaitable[None]]
"""Waits until the server's clock has moved on by a duration."""

FIELDS: Final = [b"id", b"1", b"name", b"order.placed"]
NOW: Final = timedelta(0)
MOMENT: Final = timedelta(milliseconds=30)
"""Short for a person, yet a server can tell it from nothing."""
AGES: Final = timedelta(hours=1)
"""Longer than any test runs."""
PATIENCE: Final = 20
"""Seconds of real time after which something that must come has not come."""

NAMES: Final = [
    "orders",
    "заказы 注文",
    "a b",
    "a:b:c",
    "{eu}orders",
    "orders{eu}:x",
    "50%25",
    "penstock:x",
    "{open",
    "*[?]",
]
"""Names in every script and with everything that means something to a server or to us."""


class Contract:
    """The fixtures of every suite. Supply ``broker``; on a clock of your own, override ``pass_time`` too."""

    @pytest.fixture
    def pass_time(self, broker: StreamBroker) -> PassTime:
        """Wait until the server's clock has moved on."""

        async def wait(duration: timedelta) -> None:
            until_us = await broker.server_time_us() + duration // timedelta(microseconds=1)
            # Another machine's clock cannot be waited for, only asked again.
            while await broker.server_time_us() < until_us:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

        return wait


def entry(stream: str, *fields: bytes, **how: Any) -> NewEntry:
    """A new entry, by default with some fields."""
    return NewEntry(stream, list(fields or FIELDS), **how)


def numbered(stream: str, count: int) -> list[NewEntry]:
    """*count* new entries that can be told apart."""
    return [entry(stream, b"n", b"%d" % number) for number in range(count)]


async def add(broker: StreamBroker, stream: str, count: int) -> list[RawId]:
    """Append *count* entries; their ids."""
    return [await broker.append(one) for one in numbered(stream, count)]


async def deliver(
    broker: StreamBroker,
    count: int = 1,
    *,
    stream: str = "orders",
    group: str = "billing",
    consumer: str = "ann",
) -> list[RawId]:
    """Make the group if it is missing, append *count* entries, deliver all that is new to the consumer; their ids."""
    await broker.create_group(stream, group, BEGINNING)
    added = await add(broker, stream, count)
    while (await broker.read_group(group, consumer, [stream], count=1000)).batches:
        pass
    return added


def ids_of(entries: Sequence[RawEntry]) -> list[RawId]:
    """The ids of entries."""
    return [one[0] for one in entries]


def fields_of(batches: Sequence[Batch]) -> dict[str, list[list[bytes]]]:
    """What was read of each stream."""
    return {stream: [one[1] for one in entries] for stream, entries in batches}


def parsed(raw_ids: Sequence[RawId]) -> list[EntryId]:
    """Ids as values."""
    return [EntryId.parse(raw) for raw in raw_ids]


async def within(task: Awaitable[R]) -> R:
    """The answer, which must come in good time."""
    return await asyncio.wait_for(task, PATIENCE)


async def started(call: Coroutine[Any, Any, R], pass_time: PassTime) -> "asyncio.Task[R]":
    """A call that had a moment to reach the server and begin to wait there."""
    task = asyncio.create_task(call)
    await pass_time(MOMENT)
    return task
