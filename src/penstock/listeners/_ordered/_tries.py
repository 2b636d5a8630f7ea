"""Running again in place: what was tried of an event, and what is to be done next. Deciding is pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from penstock.listeners._handling import Route, failure_of
from penstock.listeners._tried import Tried
from penstock.retry import Keep, Record, decide
from penstock.streams.abc import ListenerFailure

__all__ = ["Again", "Done", "GivenUp", "Step", "next_step"]


@dataclass(frozen=True, slots=True)
class Done:
    """Every listener has succeeded."""


@dataclass(frozen=True, slots=True)
class Again:
    """Some listeners run again after a while; nothing else of the turn moves until then."""

    tried: Tried
    after: timedelta
    failures: tuple[ListenerFailure, ...]
    """What failed this time, for the log; empty when a handler asked to be run again."""
    errors: tuple[BaseException, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """These listeners have failed for good, the others have succeeded."""

    failures: tuple[ListenerFailure, ...]
    errors: tuple[BaseException, ...]


Step: TypeAlias = Done | Again | GivenUp


def next_step(outcomes: Sequence[tuple[Route, BaseException]], before: Tried) -> Step:
    """Decide after a run of the listeners that *before* left to run; *outcomes* are those that raised.

    `Release` and `LeavePending` mean the same here, since an event cannot be left behind: after a wait all listeners
    run again, and the run does not count.
    """
    attempt = before.attempts + 1
    again: list[tuple[str, timedelta]] = []
    failures: list[ListenerFailure] = []
    final: list[tuple[ListenerFailure, BaseException]] = list(before.given_up)
    for route, error in outcomes:
        match decide(error, attempt, route.policy):
            case Keep():
                wait = route.policy.delay(attempt)
                return Again(Tried(before.attempts), wait, (), ())
            case Record(None):
                final.append((failure_of(route.listener.name, error, None), error))
            case Record(after):
                assert after is not None
                again.append((route.listener.name, after))
                failures.append(failure_of(route.listener.name, error, after))
    if again:
        return Again(
            Tried(attempt, tuple(name for name, _ in again), tuple(final)),
            max(after for _, after in again),
            tuple(failures),
            tuple(error for _, error in outcomes),
        )
    if final:
        return GivenUp(tuple(failure for failure, _ in final), tuple(error for _, error in final))
    return Done()
