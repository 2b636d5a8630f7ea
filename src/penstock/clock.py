"""Time: the clock everything asks, and the one grammar for durations."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from penstock.errors import MalformedDurationError

__all__ = ["Clock", "SystemClock", "format_duration", "parse_duration", "wait_set"]


class Clock(Protocol):
    """What the engine asks for time and for waiting, so that tests can own both."""

    def time_us(self) -> int:
        """Microseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait for *duration*."""
        ...


class SystemClock:
    """The machine's clock."""

    def time_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """Wait for *duration*."""
        await asyncio.sleep(duration.total_seconds())

    def now(self) -> datetime:
        """The present time in UTC."""
        return datetime.now(UTC)


async def wait_set(event: asyncio.Event, clock: Clock, *, at_most: timedelta | None) -> None:
    """Wait until *event* is set, or *at_most* has passed by the clock; ``None``: however long it takes."""
    waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(event.wait())}
    if at_most is not None:
        waits.add(asyncio.ensure_future(clock.sleep(at_most)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "second": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "minute": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "hour": timedelta(hours=1),
    "d": timedelta(days=1),
    "day": timedelta(days=1),
    "w": timedelta(weeks=1),
    "week": timedelta(weeks=1),
}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_ISO = re.compile(
    r"P(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+(?:\.[0-9]+)?)S)?)?"
)


def parse_duration(text: str | timedelta) -> timedelta:
    """Read ``"500ms"``, ``"60 min"``, ``"5 days"``, ``"1h 30min"`` or ISO 8601 (``"PT5M"``); never negative.

    A bare number is refused, since its unit would be a guess. Raises `MalformedDurationError` with a suggestion.
    """
    if isinstance(text, timedelta):
        if text < timedelta(0):
            raise MalformedDurationError(str(text))
        return text
    text = text.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise MalformedDurationError(text, suggestion=f"{text}s")
    try:
        return _parse_iso(text) if text.startswith("P") else _parse_parts(text)
    except OverflowError:
        raise MalformedDurationError(text, suggestion="36500 days") from None


def _parse_iso(text: str) -> timedelta:
    match = _ISO.fullmatch(text)
    parts = {name: float(value) for name, value in match.groupdict().items() if value} if match else {}
    if not parts:
        raise MalformedDurationError(text)
    return timedelta(**parts)


def _parse_parts(text: str) -> timedelta:
    total, at = timedelta(0), 0
    lowered = text.lower()
    while match := _PART.match(lowered, at):
        unit = match[2]
        # Words have a plural, abbreviations have none: "mins" but not "mss".
        size = _UNITS.get(unit) or (_UNITS.get(unit.removesuffix("s")) if len(unit) > 3 else None)
        if size is None:
            raise MalformedDurationError(text)
        total += float(match[1]) * size
        at = match.end()
    if at != len(lowered) or at == 0:
        raise MalformedDurationError(text)
    return total


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads it back: ``1h 30min``, ``500ms``."""
    rest = round(duration / timedelta(microseconds=1))
    parts: list[str] = []
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest // 1000}ms" if rest % 1000 == 0 else f"{rest}us")
    return " ".join(parts) or "0s"
