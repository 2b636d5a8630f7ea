"""Who did what to failed messages, when and why."""

import heapq
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import islice
from typing import Any, Final

from penstock.errors import UnknownStreamError, UsageError
from penstock.operations._scope import Place, Scope
from penstock.operations._workbench_values import LoggedAction

__all__ = ["Noting", "Person", "actions", "person", "words_of"]

_LONGEST: Final = 1000


@dataclass(frozen=True, slots=True)
class Person:
    """Who does something, and why."""

    who: str
    why: str


def person(who: str | None, why: str | None) -> Person | None:
    """Who is to be noted, if anyone. Raises `UsageError` for a text that is too long for a note."""
    if who is None and why is None:
        return None
    said = {"who": who or "", "why": why or ""}
    for name, text in said.items():
        if len(text) > _LONGEST:
            raise UsageError(f"{name} has {len(text):,} characters; say it in {_LONGEST:,}")
    # Command lines and names of users may have what no text can carry.
    return Person(*(text.encode("utf-8", "backslashreplace").decode() for text in said.values()))


@dataclass
class Noting:
    """Counts what one command does, and notes it beside each stream at the end. Nothing done is not noted."""

    scope: Scope
    what: str
    which: object
    """A dataclass of filters; those that are given are noted."""
    by: Person | None
    _counts: Counter[Place] = field(default_factory=Counter[Place])

    def count(self, place: Place, messages: int = 1) -> None:
        """So many more messages of a stream."""
        self._counts[place] += messages

    async def write(self) -> None:
        """Note it, if anyone is to be noted."""
        if self.by is None:
            return
        for place, broker in self.scope.brokers_of([place for place, count in self._counts.items() if count]):
            await broker.notes.add(
                place.stream,
                who=self.by.who,
                what=self.what,
                which=words_of(self.which),
                why=self.by.why,
                count=self._counts[place],
            )


def words_of(which: Any) -> str:
    """The filters that are given, in words."""
    said = [(each.name, getattr(which, each.name)) for each in fields(which)]
    text = ", ".join(f"{name} {_shown(value)}" for name, value in said if value is not None)
    return text.encode("utf-8", "backslashreplace").decode()[:_LONGEST] or "all"


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value) or "''"


async def actions(scope: Scope, stream: str | None, *, pool: str | None, limit: int) -> list[LoggedAction]:
    """What was noted, latest first. Raises `UnknownStreamError`."""
    if limit < 1:
        raise UsageError(f"limit is {limit}; at least one action is asked for")
    found: list[LoggedAction] = []
    for place, broker in scope.brokers_of(await _places(scope, stream, pool)):
        notes = await broker.notes.latest(place.stream, count=limit)
        here = (
            LoggedAction(
                place.pool, place.stream, each.when, each.who, each.what, each.which, each.why, each.count
            )
            for each in notes
        )
        found = list(islice(heapq.merge(found, here, key=lambda each: each.when, reverse=True), limit))
    return found


async def _places(scope: Scope, stream: str | None, pool: str | None) -> list[Place]:
    try:
        return await scope.places(stream, pool)
    except UnknownStreamError as failure:
        # One that is not there (any more) may have failed messages all the same.
        place = scope.place(failure.stream, pool)
        broker = scope.broker(place.pool)
        if broker is None or not await broker.notes.latest(place.stream, count=1):
            raise
        return [place]
