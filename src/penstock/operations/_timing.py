"""What was and what will be, for people: the history of one entity, events that wait, and what recurs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from penstock.app import App
from penstock.listeners._recurring import RecurringRun
from penstock.listeners.history import History, Until
from penstock.operations._scope import Scope
from penstock.operations._values import EntryView
from penstock.operations._views import view_of_message
from penstock.streams.scheduling import Scheduled

__all__ = ["Timing"]


class Timing(ABC):
    """The part of `Operations` that is about time."""

    _connect: bool

    @abstractmethod
    def _needed_app(self) -> App:
        """The app. Raises `UsageError` without one."""

    @abstractmethod
    async def _scope(self) -> Scope:
        """The servers, and what is registered."""

    # -- history of one entity ----------------------------------------------------------------------------------

    async def history(
        self, events: Sequence[str], identifier: str, *, until: Until | None = None, stream: str | None = None
    ) -> AsyncGenerator[EntryView, None]:
        """The events of one entity, oldest first, up to *until* (included); see `App.history`."""
        if not self._connect:
            return
        scope = await self._scope()
        async with aclosing(self._history(events, identifier, stream).events(until)) as messages:
            async for message in messages:
                yield view_of_message(scope.place(message.stream).pool, message)

    async def history_state(
        self, events: Sequence[str], identifier: str, *, until: Until | None = None, stream: str | None = None
    ) -> dict[str, Any]:
        """What the events of one entity up to *until* (included) fold to; empty if it is unknown.

        Raises `DecodeError` for a body without fields.
        """
        if not self._connect:
            return {}
        return await self._history(events, identifier, stream).state(until)

    def _history(self, events: Sequence[str], identifier: str, stream: str | None) -> History:
        return self._needed_app().history(list(events), identifier, stream=stream)

    # -- what will be -------------------------------------------------------------------------------------------

    async def scheduled(self, *, stream: str | None = None, limit: int | None = None) -> list[Scheduled]:
        """The events that wait for their time, by that; see `App.scheduled`."""
        if not self._connect:
            return []
        return await self._needed_app().scheduled(stream=stream, limit=limit)

    async def recurring(self) -> list[RecurringRun]:
        """Everything that recurs, with its last and its next run, by stream and name."""
        return await self._needed_app().recurring() if self._connect else []

    async def cancel_scheduled(self, event_id: str) -> bool:
        """Take back an event that waits; False when none of that id does."""
        return self._connect and await self._needed_app().cancel_scheduled(event_id)
