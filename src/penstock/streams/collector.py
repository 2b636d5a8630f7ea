"""The collector: removes from streams what their retention lets go, a bounded step at a time, never what is needed.

It decides nothing about safety: every step is `RemovalStore.trim`, which computes the floor and applies it in the same
script. So any number of collectors may run on one stream; that one acts at a time only saves work.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from penstock.clock import format_duration
from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams.abc import Hold, StreamBroker, Trimmed

__all__ = ["COLLECTOR", "Collected", "Retention", "collect", "older_than", "trim_all"]

COLLECTOR: Final = "collector"
"""The lease of a stream whose holder collects it; it is held by somebody as long as anyone keeps house."""

_STEP = 2_000
"""Entries a step: the server answers others between two steps."""
_PAUSE = timedelta(milliseconds=2)
_BUDGET = timedelta(seconds=2)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """What a stream lets go: what all its readers have settled, what is older, what is beyond a length.

    Each of them alone is a reason to remove an entry. All of them end at what somebody still needs, unless age and
    length are told to come first (``remove_needed`` of the stream).

    Raises:
        UsageError: Nothing is let go, or a bound keeps nothing.
    """

    handled: bool = False
    age: timedelta | None = None
    entries: int | None = None

    def __post_init__(self) -> None:
        if self.age is not None and self.age <= timedelta(0):
            raise UsageError(f"a retention of {self.age} would keep nothing; use a duration above zero")
        if self.entries is not None and self.entries < 1:
            raise UsageError(f"a retention of {self.entries} entries would keep none; use at least 1")
        if not self.handled and self.age is None and self.entries is None:
            raise UsageError("a retention says what goes: handled, an age, a number of entries")

    def __str__(self) -> str:
        parts = [
            "handled" if self.handled else "",
            "" if self.age is None else f"older than {format_duration(self.age)}",
            "" if self.entries is None else f"beyond {self.entries:,} entries",
        ]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Collected:
    """What one call did. `more`: its time was used up before its work was; `held_by`: who kept what else would go."""

    removed: int
    more: bool
    held_by: tuple[Hold, ...]


async def collect(
    broker: StreamBroker,
    stream: str,
    retention: Retention,
    *,
    remove_needed: bool = False,
    budget: timedelta = _BUDGET,
) -> Collected:
    """Remove what *retention* lets go, in steps with pauses, for about *budget*.

    *remove_needed* lets age and length go beyond the floor; what was handled is by its nature never above it.
    """
    until = time.monotonic() + budget.total_seconds()
    removed, held = 0, dict[Hold, None]()
    while True:
        steps = [step async for step in _steps(broker, stream, retention, remove_needed)]
        removed += sum(step.removed for step in steps)
        held = dict.fromkeys(hold for step in steps for hold in step.held_by)
        more = any(step.more for step in steps)
        if not more or time.monotonic() >= until:
            return Collected(removed, more, tuple(held))
        await asyncio.sleep(_PAUSE.total_seconds())


async def _steps(
    broker: StreamBroker, stream: str, retention: Retention, remove_needed: bool
) -> AsyncIterator[Trimmed]:
    removal = broker.removal
    if retention.handled:
        yield await removal.trim(stream, handled=True, limit=_STEP)
    if retention.age is not None:
        below = await older_than(broker, retention.age)
        yield await removal.trim(stream, below=below, force=remove_needed, limit=_STEP)
    if retention.entries is not None:
        yield await removal.trim(stream, keep=retention.entries, force=remove_needed, limit=_STEP)


async def trim_all(
    broker: StreamBroker,
    stream: str,
    *,
    below: EntryId | None = None,
    keep: int | None = None,
    force: bool = False,
) -> Collected:
    """As `RemovalStore.trim`, in steps with pauses until there is no more to remove."""
    removed = 0
    while True:
        step = await broker.removal.trim(stream, below=below, keep=keep, force=force, limit=_STEP)
        removed += step.removed
        if not step.more:
            return Collected(removed, more=False, held_by=step.held_by)
        await asyncio.sleep(_PAUSE.total_seconds())


async def older_than(broker: StreamBroker, age: timedelta) -> EntryId:
    """The lowest id of entries that are not older than *age*, by the server's clock."""
    return EntryId(max(0, await broker.server_time_us() - age // _US) // 1000)
