"""What a user declares: consumer groups, the listeners in them, and routers that carry both into an app."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack

from penstock.clock import parse_duration
from penstock.errors import ConfigurationError, UsageError
from penstock.event import event_type, is_event
from penstock.message import Message
from penstock.position import BEGINNING, Start
from penstock.retry import Retry

__all__ = ["Call", "Group", "GroupSettings", "Listener", "Middleware", "Registry", "Router", "on"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__penstock_on__"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How a consumer group works. Every duration may be written as text."""

    mode: Literal["parallel"] = "parallel"
    """``parallel``: any member may take any entry; no order between them."""
    start: Start = BEGINNING
    """Where a group that does not exist yet begins."""
    retry: Retry = Retry()  # noqa: RUF009  frozen
    """How often and how long apart a failing listener runs."""
    on_failure: Literal["retry", "leave_pending", "halt"] = "retry"
    """``retry`` records the failure, acknowledges the entry and runs the listener again from the record;
    ``leave_pending`` records nothing and lets the entry be delivered again after `min_idle`; ``halt`` stops the worker
    and leaves the entry pending."""
    unhandled: Literal["acknowledge", "leave_pending", "fail"] = "acknowledge"
    """What becomes of an event that none of the group's listeners handles."""
    on_missing: Literal["recreate", "halt"] = "recreate"
    """What the worker does when the group or its stream is deleted underneath."""
    concurrency: int = 10
    """How many messages of the group one process handles at the same time."""
    min_idle: timedelta = timedelta(seconds=60)
    """How long an entry must have gone untouched before another consumer takes it over."""
    max_deliveries: int = 3
    """How often a suspicious entry is handled alone before it is condemned as poison."""
    max_batch: int = 500
    """The most entries that one read brings, per stream."""
    byte_budget: int = 8 * 1024 * 1024
    """About how many bytes of entries a worker holds unhandled."""
    dead_after: timedelta = timedelta(minutes=10)
    """When a consumer that has not been heard of, and whose name nobody holds, is removed (its entries move first)."""
    drain_timeout: timedelta = timedelta(seconds=30)
    """How long handlers may go on after a stop was asked for."""
    retry_visibility: timedelta = timedelta(seconds=60)
    """How long a retry belongs to the process that took it; renewed while its handler runs."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _DURATIONS:
                object.__setattr__(self, each.name, _positive(each.name, parse_duration(value)))
            elif each.name in _COUNTS and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{each.name} is {value!r}; it is a whole number of at least 1")
            elif each.name in _CHOICES and value not in _CHOICES[each.name]:
                raise UsageError(f"{each.name} is {value!r}; choose one of {', '.join(_CHOICES[each.name])}")


_DURATIONS = frozenset({"min_idle", "dead_after", "drain_timeout", "retry_visibility"})
_COUNTS = frozenset({"concurrency", "max_deliveries", "max_batch", "byte_budget"})
_CHOICES = {
    "mode": ("parallel",),
    "on_failure": ("retry", "leave_pending", "halt"),
    "unhandled": ("acknowledge", "leave_pending", "fail"),
    "on_missing": ("recreate", "halt"),
}


def _positive(name: str, duration: timedelta) -> timedelta:
    if duration < timedelta(milliseconds=1):
        raise UsageError(f"{name} is {duration}; it is at least 1ms")
    return duration


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a handler, as middleware sees it. `messages` has one item unless the listener handles batches."""

    listener: "Listener"
    group: str | None
    messages: tuple[Message, ...]


Middleware: TypeAlias = Callable[[Call, Callable[[], Awaitable[None]]], Awaitable[None]]
"""``async def timing(call, proceed): ...; await proceed(); ...``: wraps every run of every handler."""


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """A handler with what it listens to. Its `name` is what failures are recorded under, so keep it stable."""

    name: str
    function: Callable[..., Any]
    events: tuple[object, ...]
    """Event classes, event names, or `typing.Any` for everything in the group's streams."""
    owner: type | None = None
    """For a method: the class whose instance is made for each message."""
    batch: int | None = None
    wait: timedelta = timedelta(0)
    """How long a batch may wait to fill up."""
    timeout: timedelta | None = None
    acknowledge: Literal["auto", "manual"] = "auto"
    retry: Retry | None = None
    """Instead of the group's."""

    @property
    def names(self) -> frozenset[str] | None:
        """The event names it handles; ``None`` for all."""
        if Any in self.events:
            return None
        return frozenset(each if isinstance(each, str) else event_type(each).name for each in self.events)

    @property
    def streams(self) -> frozenset[str]:
        """The streams its events are on, as far as they tell."""
        return frozenset(
            each if isinstance(each, str) else event_type(each).stream
            for each in self.events
            if each is not Any
        )


class ListenerOptions(TypedDict, total=False):
    """What may be said of a listener; see `Group.on`."""

    name: str | None
    batch: int | None
    wait: timedelta | str
    timeout: timedelta | str | None
    acknowledge: Literal["auto", "manual"]
    retry: Retry | None


class GroupOptions(TypedDict, total=False):
    """What may be said of a group: the fields of `GroupSettings`, durations also as text, and its streams."""

    streams: Sequence[str]
    mode: Literal["parallel"]
    start: Start
    retry: Retry
    on_failure: Literal["retry", "leave_pending", "halt"]
    unhandled: Literal["acknowledge", "leave_pending", "fail"]
    on_missing: Literal["recreate", "halt"]
    concurrency: int
    min_idle: timedelta | str
    max_deliveries: int
    max_batch: int
    byte_budget: int
    dead_after: timedelta | str
    drain_timeout: timedelta | str
    retry_visibility: timedelta | str


class Group:
    """A consumer group: each of its entries is handled by one member, all of its listeners run.

    ``@group.on(OrderPlaced)`` declares a listener; a class whose methods carry ``@on(...)`` brings several with
    ``handlers=``.
    """

    def __init__(
        self,
        name: str,
        settings: GroupSettings,
        *,
        streams: tuple[str, ...] = (),
        handlers: type | None = None,
        broadcast: bool = False,
    ) -> None:
        _check_name("consumer group", name)
        self.name = name
        self.settings = settings
        self.declared_streams = streams
        self.broadcast = broadcast
        self.listeners: list[Listener] = []
        self.version = 0
        """Goes up when a listener comes or goes; a running worker takes the change up with its next message."""
        if handlers is not None:
            self.add_class(handlers)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams the group reads: those declared, and those that its listeners' events are on."""
        found = set(self.declared_streams)
        for listener in self.listeners:
            if not (self.declared_streams and all(isinstance(each, str) for each in listener.events)):
                found |= listener.streams
        return tuple(sorted(found))

    def on(
        self,
        *events: object,
        name: str | None = None,
        batch: int | None = None,
        wait: timedelta | str = timedelta(0),
        timeout: timedelta | str | None = None,
        acknowledge: Literal["auto", "manual"] = "auto",
        retry: Retry | None = None,
    ) -> Callable[[F], F]:
        """Declare a listener; the decorated function stays what it was.

        *events* are event classes, event names, or ``Any`` for everything in the group's streams. With *batch* the
        handler gets a list of up to that many events at once, waiting up to *wait* for more. A handler over its
        *timeout* is cancelled and has failed (a synchronous one cannot be cancelled: its thread goes on). With
        ``acknowledge="manual"`` the handler settles each message by its `Delivery`; no other listener of the group can
        be for the same event then.

        Raises:
            ConfigurationError: The function cannot be a listener, or the group has one of that name for the event.
        """

        def declare(function: F) -> F:
            self.add(
                _listener(
                    function,
                    events,
                    name=name,
                    batch=batch,
                    wait=parse_duration(wait),
                    timeout=None if timeout is None else parse_duration(timeout),
                    acknowledge=acknowledge,
                    retry=retry,
                )
            )
            return function

        return declare

    def add(self, listener: Listener) -> Listener:
        """Take a listener in, also while the group is being worked. Raises `ConfigurationError`."""
        if Any in listener.events and not self.declared_streams:
            raise ConfigurationError(
                f"listener {listener.name!r} wants everything, but group {self.name!r} names no streams; "
                "give the group streams=[...]"
            )
        for other in self.listeners:
            if not _overlap(other, listener):
                continue
            if other.name == listener.name:
                raise ConfigurationError(
                    f"group {self.name!r} already has a listener {listener.name!r} for the same event; "
                    "give one of them another name="
                )
            if "manual" in (other.acknowledge, listener.acknowledge):
                raise ConfigurationError(
                    f"listeners {other.name!r} and {listener.name!r} of group {self.name!r} are for the same event, "
                    "and one of them acknowledges it by itself, whatever becomes of the other; "
                    "give them a group each"
                )
        self.listeners.append(listener)
        self.version += 1
        return listener

    def add_class(self, handlers: type) -> list[Listener]:
        """Take in every method of a class that is marked with `on`. Raises `ConfigurationError` if there is none."""
        if not inspect.isclass(handlers):
            raise ConfigurationError(
                f"handlers= takes a class whose methods are marked with @on, not {handlers!r}"
            )
        marked: list[tuple[Callable[..., Any], tuple[tuple[object, ...], ListenerOptions]]] = [
            (function, mark)
            for function in vars(handlers).values()
            if (mark := getattr(function, _MARK, None)) is not None
        ]
        if not marked:
            raise ConfigurationError(
                f"no method of {handlers.__qualname__} is marked with @on(...); it handles nothing"
            )
        return [
            self.add(_method_listener(handlers, function, events, options))
            for function, (events, options) in marked
        ]

    def configure(self, *, streams: tuple[str, ...] | None = None, **settings: Any) -> None:
        """Change settings by name, the rest stays as declared. Raises `ConfigurationError`, `UsageError`."""
        self.settings = replace(self.settings, **_known(self.name, settings))
        if streams is not None:
            self.declared_streams = tuple(streams)

    def remove(self, name: str) -> int:
        """Stop handling with the listeners of that name; how many there were. Takes effect with the next message."""
        before = len(self.listeners)
        self.listeners = [listener for listener in self.listeners if listener.name != name]
        self.version += 1
        return before - len(self.listeners)

    def listener(self, name: str) -> list[Listener]:
        """The listeners of that name."""
        return [listener for listener in self.listeners if listener.name == name]


class Registry:
    """Groups and broadcast listeners by name: what an app or a router has declared."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.middleware: list[Middleware] = []

    def group(self, name: str, *, handlers: type | None = None, **settings: Any) -> Group:
        """Declare a group, or get the one declared before (then without settings)."""
        known = self.groups.get(name)
        if known is None:
            streams = tuple(settings.pop("streams", ()))
            broadcast = settings.pop("broadcast", False)
            known = self.groups[name] = Group(
                name, _settings(name, settings), streams=streams, broadcast=broadcast, handlers=handlers
            )
            return known
        if settings:
            if known.listeners or known.settings != GroupSettings():
                raise ConfigurationError(
                    f"group {name!r} is declared twice with settings; declare it once, before its listeners"
                )
            known.declared_streams = tuple(settings.pop("streams", known.declared_streams))
            known.settings = _settings(name, settings)
        if handlers is not None:
            known.add_class(handlers)
        return known

    def include(self, router: "Router") -> None:
        """Take over everything that a router declares."""
        for group in router.registry.groups.values():
            own = self.groups.get(group.name)
            if own is None:
                self.groups[group.name] = group
                continue
            if own.settings == GroupSettings():
                own.settings = group.settings
            elif group.settings not in (GroupSettings(), own.settings):
                raise ConfigurationError(
                    f"group {group.name!r} is declared with settings in two places; keep one"
                )
            own.declared_streams = tuple(dict.fromkeys((*own.declared_streams, *group.declared_streams)))
            for listener in group.listeners:
                own.add(listener)
        self.middleware += router.registry.middleware

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups.values())


class Router:
    """Declares groups and listeners away from the app; ``app.include(router)`` takes them over."""

    def __init__(self, *, default_group: str | None = None) -> None:
        self.registry = Registry()
        self._default_group = default_group

    def group(self, name: str, *, handlers: type | None = None, **settings: Unpack[GroupOptions]) -> Group:
        """Declare a consumer group; the keywords are the fields of `GroupSettings`, and ``streams=``."""
        return self.registry.group(name, handlers=handlers, **settings)

    def listener(
        self,
        *events: object,
        group: Group | str | None = None,
        broadcast: bool = False,
        **options: Unpack[ListenerOptions],
    ) -> Callable[[F], F]:
        """Declare a listener; see `Group.on` for the options.

        *group*: a `Group` or its name; left out, the app's own name. *broadcast*: no group, every process gets every
        event from now on.
        """
        return self._target(group, broadcast).on(*events, **options)

    def middleware(self, function: Middleware) -> Middleware:
        """Wrap every run of every handler: ``async def f(call, proceed): ...``."""
        self.registry.middleware.append(function)
        return function

    def _target(self, group: Group | str | None, broadcast: bool) -> Group:
        if broadcast:
            if group is not None:
                raise ConfigurationError("a broadcast listener has no group; leave group= or broadcast= out")
            return (
                self.registry.group("(broadcast)", broadcast=True)
                if "(broadcast)" not in self.registry.groups
                else (self.registry.groups["(broadcast)"])
            )
        if isinstance(group, Group):
            if self.registry.groups.setdefault(group.name, group) is not group:
                raise ConfigurationError(
                    f"group {group.name!r} is declared in two places; include the router instead"
                )
            return group
        name = group or self._default_group
        if name is None:
            raise ConfigurationError("a router's listener needs group=; only an app has one of its own")
        return self.registry.group(name)


def on(*events: object, **options: Unpack[ListenerOptions]) -> Callable[[F], F]:
    """Mark a method as a listener; its class comes in with ``handlers=``. The options are those of `Group.on`."""

    def mark(function: F) -> F:
        setattr(function, _MARK, (events, options))
        return function

    return mark


def _listener(
    function: Callable[..., Any],
    events: tuple[object, ...],
    *,
    name: str | None = None,
    batch: int | None = None,
    wait: timedelta | str = timedelta(0),
    timeout: timedelta | str | None = None,
    acknowledge: Literal["auto", "manual"] = "auto",
    retry: Retry | None = None,
    owner: type | None = None,
) -> Listener:
    if not inspect.isroutine(function):
        raise ConfigurationError(
            f"{function!r} cannot be a listener; decorate a function, or bring a class in with handlers="
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"listener {function.__name__!r} yields; a listener is called once and returns"
        )
    if not events:
        raise ConfigurationError(
            f"listener {function.__name__!r} listens to nothing; name its events, as in .on(OrderPlaced)"
        )
    for each in events:
        if each is not Any and not isinstance(each, str) and not is_event(each):
            raise ConfigurationError(
                f"listener {function.__name__!r} names {each!r}, which is no event; "
                "declare the class (Event, or @event), or give the event's name"
            )
    if batch is not None and batch < 1:
        raise ConfigurationError(f"batch is {batch}; a batch has at least one event")
    if acknowledge not in ("auto", "manual"):
        raise ConfigurationError(f"acknowledge is {acknowledge!r}; choose 'auto' or 'manual'")
    chosen = name or function.__name__
    _check_name("listener", chosen)
    return Listener(
        chosen,
        function,
        events,
        owner,
        batch,
        parse_duration(wait),
        None if timeout is None else parse_duration(timeout),
        acknowledge,
        retry,
    )


def _method_listener(
    owner: type, function: Callable[..., Any], events: tuple[object, ...], options: ListenerOptions
) -> Listener:
    named: ListenerOptions = {"name": f"{owner.__name__}.{function.__name__}", **options}
    return _listener(function, events, owner=owner, **named)


def _settings(group: str, given: dict[str, Any]) -> GroupSettings:
    return replace(GroupSettings(), **_known(group, given))


def _known(group: str, given: dict[str, Any]) -> dict[str, Any]:
    known = [each.name for each in fields(GroupSettings)]
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"group {group!r} has no setting {name!r}; it has {', '.join(known)}, streams"
            )
    return given


def _overlap(one: Listener, other: Listener) -> bool:
    first, second = one.names, other.names
    return first is None or second is None or bool(first & second)


def _check_name(what: str, name: str) -> None:
    if not name or name != name.strip() or any(ord(letter) < 32 for letter in name):
        raise ConfigurationError(
            f"{name!r} cannot name a {what}; use visible characters without blanks around them"
        )
    if name == "*":
        raise ConfigurationError(
            f"a {what} cannot be called '*': failure records use it for the whole message"
        )
