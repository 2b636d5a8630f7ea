"""What becomes of a delivery whose handler raised: the signals a handler may raise, and the policy that decides.

Deciding is pure: `decide` turns an exception, a count of attempts and a policy into a value, and whoever settles the
delivery matches on it.
"""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from penstock.clock import parse_duration
from penstock.errors import CodecError, UsageError

__all__ = [
    "Decision",
    "GiveUp",
    "Keep",
    "LeavePending",
    "Record",
    "Release",
    "Retry",
    "RetryLater",
    "Signal",
    "decide",
]


class Signal(Exception):  # noqa: N818  handlers speak by raising; these are words, not errors
    """The base of what a handler may raise to say what should become of its message."""


class GiveUp(Signal):
    """Handling this message can never succeed: record it as failed now, without further attempts."""


class RetryLater(Signal):
    """Run this listener again after a while, whatever the back-off says. It still counts as an attempt."""

    def __init__(self, after: timedelta | str, reason: str = "") -> None:
        self.after = parse_duration(after)
        super().__init__(reason or f"retry asked for after {self.after}")


class Release(Signal):
    """Hand the message to any member of the group, at once. Nothing is recorded; every listener runs again."""


class LeavePending(Signal):
    """Leave the message pending with this consumer. It is delivered again once it has been idle for ``min_idle``."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how long apart, a failing listener runs.

    `attempts` counts every run, the first included; 1 means no retry. The wait before run ``n + 1`` is
    ``initial * factor ** (n - 1)``, at most `longest`, spread by ``± jitter`` (a share of the wait) so that a batch
    which failed together does not come back together. A ``str`` is read as a duration. Exceptions of a type in
    `hopeless` are not retried.
    """

    attempts: int = 5
    initial: timedelta | str = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta | str = timedelta(minutes=10)
    jitter: float = 0.2
    hopeless: tuple[type[BaseException], ...] = (CodecError,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "initial", parse_duration(self.initial))
        object.__setattr__(self, "longest", parse_duration(self.longest))
        if self.attempts < 1:
            raise UsageError(f"attempts is {self.attempts}; it counts the first run too, so it is at least 1")
        if self.factor < 1:
            raise UsageError(
                f"factor is {self.factor}; a wait that shrinks is not supported, use 1 for a constant one"
            )
        if not 0 <= self.jitter < 1:
            raise UsageError(f"jitter is {self.jitter}; it is a share of the wait, from 0 to below 1")

    def delay(self, attempts: int, *, spread: float | None = None) -> timedelta:
        """The wait after the run number *attempts*. *spread* in [-1, 1] replaces the random jitter."""
        initial, longest = parse_duration(self.initial), parse_duration(self.longest)
        try:
            wait = min(initial.total_seconds() * self.factor ** (attempts - 1), longest.total_seconds())
        except OverflowError:
            wait = longest.total_seconds()
        if spread is None:
            spread = random.uniform(-1, 1)
        return timedelta(seconds=wait * (1 + self.jitter * spread))


@dataclass(frozen=True, slots=True)
class Record:
    """Write a failure record. With `after` the listener runs again once that has passed; without, it has failed."""

    after: timedelta | None


@dataclass(frozen=True, slots=True)
class Keep:
    """Write nothing; the entry stays pending. `release`: for anyone at once, else with this consumer."""

    release: bool


Decision: TypeAlias = Record | Keep
"""What `decide` answers."""


def decide(failure: BaseException, attempts: int, policy: Retry) -> Decision:
    """Choose what becomes of a delivery whose handler raised on run number *attempts* (1 is the first)."""
    match failure:
        case Release():
            return Keep(release=True)
        case LeavePending():
            return Keep(release=False)
        case GiveUp():
            return Record(after=None)
        case _:
            pass
    if attempts >= policy.attempts or isinstance(failure, policy.hopeless):
        return Record(after=None)
    if isinstance(failure, RetryLater):
        return Record(after=failure.after)
    return Record(after=policy.delay(attempts))
