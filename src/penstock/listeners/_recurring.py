"""What recurs in an app: declared once in every process, emitted by one of them at each time.

The script that records a run adds its entries, if the last run is still the one that was seen. So whoever is first
emits, the others are told that it is done, and a death before that moment leaves everything to the next.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast, get_args, get_type_hints

from penstock.clock import Clock
from penstock.errors import BrokerError, ConfigurationError, UsageError
from penstock.event import event_type, is_event
from penstock.listeners._rules import Missed, Rule, plan
from penstock.streams.abc import NewEntry, StreamBroker, Tick
from penstock.streams.publisher import Outgoing, Publisher
from penstock.telemetry import LOGGER

__all__ = ["Make", "Recurring", "RecurringRun", "RecurringRuns", "declare_recurring"]

Make = Callable[..., Any]
"""A function that returns what a run emits: one event, several, or ``None``. It may take the time of the run."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_AFTER_A_FAILURE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Recurring:
    """Something that recurs."""

    name: str
    rule: Rule
    stream: str
    """Where its events go, and beside which its last run is kept."""
    make: Make
    missed: Missed


@dataclass(frozen=True, slots=True, order=True)
class RecurringRun:
    """Something that recurs, as the server knows it."""

    stream: str
    name: str
    rule: str
    last: datetime
    """The time of the last run (or, before the first, since when it is known), in UTC."""
    following: datetime | None
    """The time of the next run."""


def declare_recurring(
    known: Mapping[str, Recurring],
    rule: Rule,
    what: object,
    *,
    name: str | None,
    stream: str | None,
    missed: Missed,
) -> Recurring:
    """What *what*, an event or a function that makes some, is as something that recurs.

    Raises:
        ConfigurationError: The name is taken, the stream cannot be told, or *missed* is none of the policies.
    """
    if missed not in get_args(Missed):
        raise ConfigurationError(f"missed is {missed!r}; choose one of {', '.join(get_args(Missed))}")
    make: Make
    if callable(what) and not isinstance(what, type):
        make, name = what, name or getattr(what, "__name__", None)
        streams = {event_type(each).stream for each in _events_in(_returned(what))}
        if stream is None and len(streams) != 1:
            raise ConfigurationError(
                f"the stream of recurring {name!r} cannot be told from what the function returns; "
                "annotate it with the event's class, or give stream="
            )
    elif is_event(what) and not isinstance(what, type):
        make, name = (lambda: what), name or event_type(what).name
        streams = {event_type(what).stream}
    else:
        raise ConfigurationError(f"{what!r} does not recur; give an event, or a function that returns some")
    if not name or not name.strip():
        raise ConfigurationError("what recurs needs a name by which its runs are kept; give name=")
    if name in known:
        raise ConfigurationError(
            f"something recurs by the name {name!r} already; give this one name= of its own"
        )
    return Recurring(name, rule, stream or next(iter(streams)), make, missed)


class RecurringRuns:
    """Runs what recurs in an app. A `penstock.streams.scheduling.Ticking`."""

    def __init__(
        self,
        recurring: Iterable[Recurring],
        broker_for: Callable[[str], StreamBroker],
        publisher: Callable[[], Awaitable[Publisher]],
        clock: Clock,
    ) -> None:
        self._recurring = tuple(recurring)
        self._broker_for = broker_for
        self._publisher = publisher
        self._clock = clock
        self._failed_until: dict[str, float] = {}

    async def run_due(self) -> int:
        """Run what is due; how many entries were added. Raises `BrokerError`."""
        added = 0
        for each in self._recurring:
            if self._clock.monotonic() >= self._failed_until.get(each.name, 0.0):
                added += await self._run(each)
        return added

    async def wait(self) -> timedelta | None:
        """How long until the next run of anything."""
        waits: list[timedelta] = []
        for each in self._recurring:
            last, now = await self._state(each)
            failed = self._failed_until.get(each.name, 0.0) - self._clock.monotonic()
            following = next(each.rule.after(now if last is None else last), None)
            if following is not None:
                waits.append(max(following - now, timedelta(seconds=failed), timedelta(0)))
        return min(waits, default=None)

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _state(self, each: Recurring) -> tuple[datetime | None, datetime]:
        """When it ran last, and the present time, both as the server has it."""
        broker = self._broker_for(each.stream)
        tick = (await broker.schedule.ticks(each.stream)).get(each.name)
        return None if tick is None else tick.at, _EPOCH + await broker.server_time_us() * _US

    async def _run(self, each: Recurring) -> int:
        last, now = await self._state(each)
        if last is None:
            # Nothing was missed before somebody knew of it.
            await self._record(each, None, now, ())
            return 0
        todo = plan(each.rule, last, now, each.missed)
        if todo.left_out:
            LOGGER.warning("recurring %r: %s missed runs or more are left out", each.name, todo.left_out)
        added = 0
        for time in todo.runs:
            entries = await self._entries(each, time)
            if entries is None or (count := await self._record(each, last, time, entries)) is None:
                return added
            added, last = added + count, time
        if todo.reached is not None:
            await self._record(each, last, todo.reached, ())
        return added

    async def _record(
        self, each: Recurring, last: datetime | None, time: datetime, entries: tuple[NewEntry, ...]
    ) -> int | None:
        following = next(each.rule.after(time), None)
        done = await self._broker_for(each.stream).schedule.tick(
            each.stream,
            each.name,
            expected=last,
            tick=Tick(time, following, str(each.rule)),
            entries=entries,
        )
        return None if done is None else len(done)

    async def _entries(self, each: Recurring, time: datetime) -> tuple[NewEntry, ...] | None:
        """What a run adds; ``None`` when its function failed: it is called again later."""
        publisher = await self._publisher()
        try:
            events = await _made(each.make, time)
            placed = [
                await publisher.place(Outgoing(event, each.stream), time_us=(time - _EPOCH) // _US)
                for event in events
            ]
        except BrokerError:
            raise
        except Exception:  # noqa: BLE001  a user's function
            LOGGER.exception("recurring %r failed for %s; it is tried again", each.name, time.isoformat())
            self._failed_until[each.name] = self._clock.monotonic() + _AFTER_A_FAILURE.total_seconds()
            return None
        self._failed_until.pop(each.name, None)
        return tuple(entry for _, entry in placed)


async def _made(make: Make, time: datetime) -> list[object]:
    parameters = inspect.signature(make).parameters.values()
    takes_time = any(
        each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty
        for each in parameters
    )
    made: object = make(time) if takes_time else make()
    if inspect.isawaitable(made):
        made = await made
    if made is None:
        return []
    if isinstance(made, (list, tuple)):
        return list(cast("Iterable[object]", made))
    if not is_event(made):
        raise UsageError(
            f"a recurring function returned a {type(made).__name__}; return an event, a list of events, or None"
        )
    return [made]


def _returned(function: Callable[..., object]) -> object:
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def _events_in(hint: object) -> set[type]:
    if isinstance(hint, type) and is_event(hint):
        return {hint}
    return {found for part in get_args(hint) for found in _events_in(part)}
