"""Which handlers are for which event, and what each of them asks for, found out before anything runs."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from penstock.errors import ConfigurationError
from penstock.event import EventType, event_type, is_event
from penstock.listeners.calls import CallPlan, Dependencies, Source, plan_call
from penstock.listeners.delivery import Delivery
from penstock.message import Message
from penstock.projections.derived import Derived
from penstock.projections.generation import Generation
from penstock.projections.mapper import PayloadMapper
from penstock.store.abc import StoredEvent
from penstock.store.database import Dialect
from penstock.store.work import Wanted, asked_types, wanted_of

__all__ = ["Handler", "Route", "Routes", "state_annotation"]


@dataclass(frozen=True, slots=True, eq=False)
class Handler:
    """A function with what it is for. Its `name` is how errors name it."""

    name: str
    function: Any
    events: tuple[object, ...]
    """Event classes, event names, or `typing.Any`."""
    owner: type | None = None
    """For a method: the class whose instance is made for each page."""

    @property
    def names(self) -> frozenset[str] | None:
        """The event names it handles; ``None`` for all."""
        if Any in self.events:
            return None
        return frozenset(each if isinstance(each, str) else event_type(each).name for each in self.events)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One handler for one event name."""

    handler: Handler
    plan: CallPlan
    event_type: EventType | None
    parts: tuple[tuple[str, Wanted], ...]
    """Parameters that are parts of the transaction."""
    mappers: tuple[tuple[str, type[PayloadMapper]], ...]
    others: tuple[tuple[str, Any], ...]
    """Parameters that are made once a page."""

    @property
    def body(self) -> str | None:
        """The parameter that takes the event."""
        return next((name for name, source in self.plan.sources if source == "body"), None)

    @property
    def messages(self) -> tuple[str, ...]:
        """The parameters that take the event as it is stored."""
        return tuple(name for name, source in self.plan.sources if source == "message")

    @property
    def state(self) -> str | None:
        """The parameter that takes the state of a fold."""
        return next((name for name, source in self.plan.sources if source == "state"), None)

    @property
    def decode(self) -> Callable[[StoredEvent], Any]:
        """A function that makes of an event what the handler wants. It raises `CodecError`."""
        if (declared := self.event_type) is not None:
            decode = declared.decode

            def declared_event(event: StoredEvent) -> Any:
                meta = event.meta
                return decode(event.data, version=meta.version, content_type=meta.content_type)

            return declared_event
        body: Any = self.plan.body
        if body is Any:
            return attrgetter("payload")
        return lambda event: event.decode(body)


class Routes:
    """The handlers of a projection, compiled: what they ask for is known and can be given."""

    def __init__(
        self,
        projection: str,
        handlers: Sequence[Handler],
        dependencies: Dependencies,
        *,
        store: str,
        dialect: Dialect,
        folds: bool,
        own: Sequence[type] = (),
    ) -> None:
        self._projection = projection
        self._store = store
        self._dialect: Dialect = dialect
        self._own = (Derived, Generation, *own)
        scoped: Mapping[type, Any] = dict.fromkeys(
            (*self._own, *asked_types(dialect), StoredEvent, Message), _nothing
        )
        self._scope = dependencies.scope(scoped)
        self._plans = [(each, self._plan(each, folds=folds)) for each in handlers]
        self._cache: dict[str, tuple[Route, ...]] = {}
        self._for_all = any(handler.names is None for handler, _ in self._plans)
        self.names = (
            None
            if self._for_all
            else frozenset(name for handler, _ in self._plans for name in handler.names or ())
        )

    @property
    def asked(self) -> frozenset[Wanted]:
        """The parts of the transaction that any of them asks for."""
        routes = (self._route(handler, plan, "") for handler, plan in self._plans)
        return frozenset(wanted for route in routes for _, wanted in route.parts)

    @property
    def owners(self) -> tuple[type, ...]:
        """The classes whose methods are handlers."""
        return tuple(dict.fromkeys(each.owner for each, _ in self._plans if each.owner is not None))

    @property
    def needs(self) -> tuple[Any, ...]:
        """The types of everything that is made for them."""
        types = [source for _, plan in self._plans for _, source in plan.sources if isinstance(source, type)]
        return tuple(dict.fromkeys([*types, *self.owners]))

    def of(self, name: str) -> tuple[Route, ...]:
        """The routes of an event name, in the order of declaration."""
        found = self._cache.get(name)
        if found is None:
            found = tuple(
                self._route(handler, plan, name)
                for handler, plan in self._plans
                if handler.names is None or name in handler.names
            )
            if len(self._cache) < _MOST_NAMES:
                self._cache[name] = found
        return found

    def _plan(self, handler: Handler, *, folds: bool) -> CallPlan:
        if handler.owner is not None and not self._scope.knows(handler.owner):
            self._scope.provide(handler.owner, handler.owner, shared=False)
            self._scope.needs_of(handler.owner, handler.owner.__qualname__)

        def part(wanted: object, batch: bool) -> Source | None:
            return self._part(handler.name, wanted)

        return plan_call(
            handler.function,
            name=handler.name,
            dependencies=self._scope,
            batch=False,
            owner=handler.owner,
            part=part,
            folds=folds,
        )

    def _part(self, handler: str, wanted: Any) -> Source | None:
        if wanted is Message or wanted is StoredEvent:
            return "message"
        if wanted is Delivery:
            raise ConfigurationError(
                f"handler {handler!r} of projection {self._projection!r} asks for a Delivery; nothing is delivered "
                "here, so there is nothing to acknowledge: ask for StoredEvent"
            )
        if _is_mapper(wanted):
            return typing.cast(type, wanted)
        asked = wanted_of(wanted, handler=handler, store=self._store, dialect=self._dialect)
        if asked is not None:
            return typing.cast(type, typing.get_origin(wanted) or wanted)
        return typing.cast(type, wanted) if wanted in self._own else None

    def _route(self, handler: Handler, plan: CallPlan, name: str) -> Route:
        parts: list[tuple[str, Wanted]] = []
        mappers: list[tuple[str, type[PayloadMapper]]] = []
        others: list[tuple[str, Any]] = []
        for parameter, source in plan.sources:
            if not isinstance(source, type):
                continue
            wanted = wanted_of(source, handler=handler.name, store=self._store, dialect=self._dialect)
            if wanted is not None:
                parts.append((parameter, wanted))
            elif _is_mapper(source):
                mappers.append((parameter, typing.cast("type[PayloadMapper]", source)))
            else:
                others.append((parameter, source))
        return Route(
            handler,
            plan,
            _type_of(handler, plan, name),
            tuple(parts),
            tuple(mappers),
            tuple(others),
        )


_MOST_NAMES = 10_000


def state_annotation(handlers: Sequence[Handler]) -> Any:
    """What the first handler of a fold says its state is; ``Any`` if it says nothing."""
    for handler in handlers:
        names = list(inspect.signature(handler.function).parameters)[1 if handler.owner is not None else 0 :]
        if names:
            return typing.get_type_hints(handler.function).get(names[0], Any)
    return Any


def _is_mapper(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, PayloadMapper)


def _nothing() -> None:
    """What stands for things that are there only while a page is handled."""


def _type_of(handler: Handler, plan: CallPlan, name: str) -> EventType | None:
    """The declaration by which an event of that name is decoded for a handler."""
    if plan.body is None:
        return None
    for each in handler.events:
        if is_event(each) and event_type(each).name == name:
            return event_type(each)
    return event_type(plan.body) if is_event(plan.body) else None
