"""What an app declares, by event: which listeners there are, and which event names none listens to."""

from collections.abc import Sequence
from typing import Any

from penstock.app import App
from penstock.event import EventType, event_type, is_event
from penstock.listeners import Group, Listener
from penstock.operations._values import EventListeners, ListenerSummary

__all__ = ["declared_event", "event_listeners", "unheard"]

_EVERYTHING = "*"


def event_listeners(app: App) -> list[EventListeners]:
    """Every event name the app knows, sorted, with its listeners in the order of declaration."""
    found: dict[tuple[str, str], list[ListenerSummary]] = {}
    for event, declared in app.settings.listeners.items():
        if not declared:
            found.setdefault((event, event), [])
    for group in app.registry:
        for listener in group.listeners:
            for name, stream in _listened(group, listener):
                found.setdefault((name, stream), []).append(_summary(group, listener))
    return [
        EventListeners(event, stream, tuple(listeners))
        for (event, stream), listeners in sorted(found.items())
    ]


def unheard(app: App, events: Sequence[str], *, group: str | None = None) -> list[str]:
    """Those of *events* (names or streams) that no listener of the app, or of that group of it, would hear."""
    heard: set[str] = set()
    for known in event_listeners(app):
        if group is None or any(listener.group == group for listener in known.listeners):
            heard |= {known.event, known.stream}
    return [event for event in events if event not in heard]


def declared_event(app: App, name: str) -> EventType | None:
    """The event class of that name which the app's listeners, projections or relays name, if there is one."""
    named = [each for group in app.registry for listener in group.listeners for each in listener.events]
    named += [
        each
        for projection in app.projections.values()
        for handler in projection.handlers
        for each in handler.events
    ]
    for each in named:
        if is_event(each) and event_type(each).name == name:
            return event_type(each)
    return next((relay.types[name] for relay in app.relays.values() if name in relay.types), None)


def _listened(group: Group, listener: Listener) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for each in listener.events:
        if each is Any:
            pairs += [(_EVERYTHING, stream) for stream in group.declared_streams]
        elif isinstance(each, str):
            pairs += [(each, stream) for stream in group.declared_streams or (each,)]
        else:
            declared = event_type(each)
            pairs.append((declared.name, declared.stream))
    return pairs


def _summary(group: Group, listener: Listener) -> ListenerSummary:
    function = listener.function
    where = f"{function.__module__}:{getattr(function, '__qualname__', listener.name)}"
    return ListenerSummary(listener.name, None if group.broadcast else group.name, where)
