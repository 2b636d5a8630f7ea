"""`Relay`: what ``app.relay(...)`` answers, and how its declaration becomes a plan."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, cast

from penstock.clock import parse_duration
from penstock.errors import ConfigurationError
from penstock.event import EventType, event_type, is_event
from penstock.relays.abc import RelayPlan, Rename, To, Where
from penstock.retry import Retry

__all__ = ["Relay", "RelayOptions", "plan_of"]


class RelayOptions(TypedDict, total=False):
    """What may be said of a relay; see `App.relay`."""

    events: Sequence[type | str] | None
    source: str
    target: str
    streams: Sequence[str]
    categories: Sequence[str]
    rename: Rename | None
    where: Where | None
    to: To | None
    mode: Literal["background", "on_demand"]
    on_failure: Literal["halt", "retry", "park", "skip"]
    retry: Retry | None
    page: int
    keep: timedelta | str | None
    archive: bool


class Relay:
    """A declared relay. It runs with ``app.run()`` and ``penstock run``."""

    def __init__(self, name: str, **said: Any) -> None:
        self.name = name
        self.said = said
        self.plan = plan_of(name, said)

    def __repr__(self) -> str:
        return f"<Relay {self.name}: {self.plan.source} to {self.plan.target}>"

    def with_settings(self, said: Mapping[str, Any], types: Mapping[str, EventType]) -> RelayPlan:
        """The plan, with what settings say above what code says, and the declarations of other events."""
        return plan_of(self.name, {**self.said, **said}, types)


def plan_of(name: str, said: Mapping[str, Any], types: Mapping[str, EventType] | None = None) -> RelayPlan:
    """The plan of a relay by what is said of it; *types* are declarations of events known from elsewhere.

    Raises:
        ConfigurationError: Something about it cannot be.
    """
    given = dict(said)
    events = given.pop("events", None)
    names, own = _events(name, events)
    for key in ("streams", "categories"):
        given[key] = _texts(name, key, given.get(key, ()))
    if isinstance(keep := given.get("keep"), str):
        given["keep"] = parse_duration(keep)
    retry = given.pop("retry", None)
    if isinstance(retry, Mapping):
        retry = Retry(**cast("Mapping[str, Any]", retry))
    return RelayPlan(name=name, names=names, types={**(types or {}), **own}, retry=retry or Retry(), **given)


def _events(name: str, events: object) -> tuple[tuple[str, ...] | None, dict[str, EventType]]:
    if events is None:
        return None, {}
    if isinstance(events, (str, type)) or not isinstance(events, Iterable):
        raise ConfigurationError(
            f"relay {name!r}: events is {events!r}; give a list of event classes and names: events=[OrderPlaced]"
        )
    names: dict[str, None] = {}
    types: dict[str, EventType] = {}
    for each in cast("Iterable[object]", events):
        if is_event(each):
            declared = event_type(each)
            types[declared.name] = declared
            names[declared.name] = None
        elif isinstance(each, str) and each:
            names[each] = None
        else:
            raise ConfigurationError(f"relay {name!r}: {each!r} is no event; give its class or its name")
    return tuple(names), types


def _texts(name: str, key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"relay {name!r}: {key} is {value!r}; give a list of names")
    return tuple(cast("Iterable[str]", value))
