"""When something recurs: at an interval, or by cron with a time zone; and what becomes of runs that were missed."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from penstock.clock import format_duration, parse_duration
from penstock.errors import ConfigurationError, MissingExtraError

__all__ = ["MOST_MISSED", "Cron", "Every", "Missed", "Plan", "Rule", "plan"]

Missed: TypeAlias = Literal["skip", "once", "all"]
"""What becomes of runs for which nobody was there."""

MOST_MISSED: Final = 100
"""The most missed runs that are made up for; older ones are left out."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHORTEST: Final = timedelta(seconds=1)
_LATE: Final = timedelta(seconds=60)
"""A run that is no later than this, and has no successor yet, was not missed."""
_FIRST_LOOK: Final = timedelta(minutes=2)
_LONGEST_LOOK: Final = timedelta(days=366 * 50)


class Rule(Protocol):
    """When something recurs. Every process works the same times out of it. Its text is for people."""

    def after(self, time: datetime) -> Iterator[datetime]:
        """The times after *time*, earliest first, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Every so often, counted from 1970-01-01 00:00 UTC: every 5 minutes is at :00, :05, :10 of each hour."""

    interval: timedelta

    @classmethod
    def parse(cls, interval: timedelta | str) -> "Every":
        """The rule of an interval of at least a second. Raises `MalformedDurationError`, `ConfigurationError`."""
        duration = parse_duration(interval)
        if duration < _SHORTEST:
            raise ConfigurationError(f"nothing recurs every {format_duration(duration)}; give at least 1s")
        return cls(duration)

    def after(self, time: datetime) -> Iterator[datetime]:
        """The times after *time*."""
        number = (time - _EPOCH) // self.interval
        while True:
            number += 1
            yield _EPOCH + number * self.interval

    def __str__(self) -> str:
        return f"every {format_duration(self.interval)}"


@dataclass(frozen=True, slots=True)
class Cron:
    """By a cron expression, in a time zone.

    A time that does not exist on a day (clocks go forward) is the first minute that does. One that exists twice (they
    go back) is the first of the two. Expressions whose minute or hour begins with a star go on by real time instead:
    they miss no hour that exists, and run in both of those that exist twice.
    """

    expression: str
    timezone: str
    _zone: ZoneInfo = field(repr=False, compare=False)
    _parse: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expression: str, timezone: str) -> "Cron":
        """The rule of an expression of five fields, or of six with seconds first.

        Raises:
            ConfigurationError: The expression or the time zone is none.
            MissingExtraError: The extra ``cron`` is not installed.
        """
        try:
            from cronsim import CronSim, CronSimError
        except ImportError:
            raise MissingExtraError("app.cron", "cron") from None
        try:
            zone = ZoneInfo(timezone)
        except (KeyError, ValueError, OSError):
            raise ConfigurationError(
                f"cron {expression!r}: there is no time zone {timezone!r}; write 'UTC' or one as in 'Europe/Berlin'"
            ) from None
        try:
            next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as failure:
            reason = str(failure) or "it never comes"
            raise ConfigurationError(
                f"{expression!r} is no cron expression: {reason}; write minute, hour, day of month, month and day "
                "of week, as in '0 6 * * *'"
            ) from None
        return cls(expression, timezone, zone, CronSim)

    def after(self, time: datetime) -> Iterator[datetime]:
        """The times after *time*."""
        last = time
        for local in self._parse(self.expression, time.astimezone(self._zone)):
            found: datetime = local.astimezone(UTC)
            # Begun within an hour that exists twice, the first times may be of its first pass; and two times of an hour
            # that does not exist are one.
            if found > last:
                last = found
                yield found

    def __str__(self) -> str:
        return f"cron {self.expression} ({self.timezone})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about something that recurs."""

    runs: tuple[datetime, ...]
    """The times to run for, oldest first."""
    reached: datetime | None
    """The time that counts as done without a run, after these; ``None``: nothing is due."""
    left_out: int = 0
    """How many missed runs are not made up for, as far as they were counted."""


def plan(rule: Rule, last: datetime, now: datetime, missed: Missed) -> Plan:
    """What is due *now*, when *last* was the last time that is done."""
    if next(rule.after(last), now + _SHORTEST) > now:
        return Plan((), None)
    due = _latest(rule, last, now, MOST_MISSED + 1 if missed == "all" else 2)
    current = due[-1]
    match missed:
        case "all":
            return Plan(due[-MOST_MISSED:], None, max(0, len(due) - MOST_MISSED))
        case "once":
            return Plan((current,), None)
        case "skip":
            if now - current <= _LATE:
                return Plan((current,), None, len(due) - 1)
            return Plan((), current, len(due))


def _latest(rule: Rule, after: datetime, until: datetime, count: int) -> tuple[datetime, ...]:
    """The last *count* times after one and up to another, found from the end: no year of seconds is walked through."""
    look = _FIRST_LOOK
    while True:
        begin = max(after, until - look)
        found = deque(_between(rule, begin, until), maxlen=count)
        if len(found) == count or begin == after or look > _LONGEST_LOOK:
            return tuple(found)
        look *= 4


def _between(rule: Rule, after: datetime, until: datetime) -> Iterator[datetime]:
    for time in islice(rule.after(after), None):
        if time > until:
            return
        yield time
