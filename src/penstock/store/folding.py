"""Folds: events turned into one value by a function for each kind of event."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from penstock.errors import ConfigurationError
from penstock.event import EventType, event_type, is_event
from penstock.store.abc import StoredEvent

__all__ = ["Fold"]

S = TypeVar("S")


class Fold(Generic[S]):
    """Functions of a state and an event, by event class, event name, or ``Any``.

    For example::

        Fold({OrderPlaced: lambda total, order: total + order.total_cents})

    For a class a function gets the decoded event, for a name and ``Any`` the `StoredEvent`. It returns the new state;
    ``None`` stands for the one it got, which it may have changed. For ``Any`` a function gets what no other is for.

    Raises:
        ConfigurationError: A key is no event, or there are two for one name.
    """

    def __init__(self, handlers: Mapping[Any, Callable[[S, Any], S | None]]) -> None:
        if not handlers:
            raise ConfigurationError(
                "a fold of nothing; give it a function for each event, as in {OrderPlaced: add}"
            )
        self._by_name: dict[str, tuple[EventType | None, Callable[[S, Any], S | None]]] = {}
        self._any: Callable[[S, Any], S | None] | None = None
        for key, function in handlers.items():
            if not callable(function):
                raise ConfigurationError(f"a fold has {function!r} for {key!r}, which is no function")
            if key is Any:
                self._any = function
                continue
            if not isinstance(key, str) and not is_event(key):
                raise ConfigurationError(
                    f"a fold names {key!r}, which is no event; give a class, a name, or Any"
                )
            declared = None if isinstance(key, str) else event_type(key)
            name = key if declared is None else declared.name
            if name in self._by_name:
                raise ConfigurationError(f"a fold has two functions for {name!r}; keep one")
            self._by_name[name] = (declared, function)

    @property
    def names(self) -> frozenset[str] | None:
        """The event names that it has a function for; ``None`` for any."""
        return None if self._any is not None else frozenset(self._by_name)

    def apply(self, state: S, event: StoredEvent) -> S:
        """The state after *event*; as it is when there is no function for it. Raises `CodecError`, what they raise."""
        declared, function = self._by_name.get(event.name, (None, self._any))
        if function is None:
            return state
        given: Any = event
        if declared is not None:
            meta = event.meta
            given = declared.decode(event.data, version=meta.version, content_type=meta.content_type)
        changed = function(state, given)
        return state if changed is None else changed
