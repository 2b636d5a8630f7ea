"""What a user declares: consumer groups, and the listeners in them."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack

from penstock.clock import parse_duration
from penstock.errors import ConfigurationError
from penstock.event import event_type, is_event
from penstock.listeners._tried import TriedByEntry
from penstock.listeners.patterns import is_pattern
from penstock.listeners.settings import GroupSettings, changed_settings
from penstock.message import Message
from penstock.retry import Retry
from penstock.streams.topics import with_shard

__all__ = ["MARK", "Call", "Group", "Listener", "ListenerOptions", "Middleware", "marked_methods", "on"]

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__penstock_on__"
"""The attribute of a method that `on` has marked."""


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
    shard: str | None = None
    """The shard of its events' streams that it listens to; ``None``: the streams themselves."""
    store: str | None = None
    """The store in whose database its effect and the event's id are committed together; ``None``: nowhere."""

    @property
    def names(self) -> frozenset[str] | None:
        """The event names it handles; ``None`` for all."""
        if Any in self.events:
            return None
        return frozenset(each if isinstance(each, str) else event_type(each).name for each in self.events)

    @property
    def streams(self) -> frozenset[str]:
        """The streams its events are on, as far as they tell."""
        found = frozenset(
            each if isinstance(each, str) else event_type(each).stream
            for each in self.events
            if each is not Any
        )
        return found if self.shard is None else frozenset(with_shard(each, self.shard) for each in found)


class ListenerOptions(TypedDict, total=False):
    """What may be said of a listener; see `Group.on`."""

    name: str | None
    batch: int | None
    wait: timedelta | str
    timeout: timedelta | str | None
    acknowledge: Literal["auto", "manual"]
    retry: Retry | None
    shard: str | None
    store: str | None


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
        self.tried: TriedByEntry = {}
        if handlers is not None:
            self.add_class(handlers)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams the group reads: those declared, and those that its listeners' events are on."""
        found = set(self.declared_streams)
        for listener in self.listeners:
            by_name = all(isinstance(each, str) for each in listener.events)
            if listener.shard is not None or not (self.declared_streams and by_name):
                found |= listener.streams
        return tuple(sorted(found))

    @property
    def named_streams(self) -> tuple[str, ...]:
        """Those of its streams that are known by name; others are found by a pattern."""
        return tuple(stream for stream in self.streams if not is_pattern(stream))

    def on(
        self,
        *events: object,
        name: str | None = None,
        batch: int | None = None,
        wait: timedelta | str = timedelta(0),
        timeout: timedelta | str | None = None,
        acknowledge: Literal["auto", "manual"] = "auto",
        retry: Retry | None = None,
        shard: str | None = None,
        store: str | None = None,
    ) -> Callable[[F], F]:
        """Declare a listener; the decorated function stays what it was.

        *events* are event classes, event names, or ``Any`` for everything in the group's streams. With *batch* the
        handler gets a list of up to that many events at once, waiting up to *wait* for more. A handler over its
        *timeout* is cancelled and has failed (a synchronous one cannot be cancelled: its thread goes on). With
        ``acknowledge="manual"`` the handler settles each message by its `Delivery`; no other listener of the group can
        be for the same event then. With *shard* it listens to that shard of its events' streams, as ``emit(shard=...)``
        writes it. With *store* what it writes by a session or connection of that store's database is committed together
        with the event's id, and an event that comes again changes nothing.

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
                    shard=shard,
                    store=store,
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
            if other.shard != listener.shard:
                raise ConfigurationError(
                    f"listeners {other.name!r} and {listener.name!r} of group {self.name!r} are for the same event in "
                    "different shards, and each would run for both; give them a group each"
                )
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
        return [
            self.add(_method_listener(handlers, function, events, options))
            for function, events, options in marked_methods(handlers)
        ]

    def configure(self, *, streams: tuple[str, ...] | None = None, **settings: Any) -> None:
        """Change settings by name, the rest stays as declared. Raises `ConfigurationError`, `UsageError`."""
        self.settings = changed_settings(self.settings, self.name, settings)
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


def on(*events: object, **options: Unpack[ListenerOptions]) -> Callable[[F], F]:
    """Mark a method as a listener; its class comes in with ``handlers=``. The options are those of `Group.on`."""

    def mark(function: F) -> F:
        setattr(function, MARK, (events, options))
        return function

    return mark


def marked_methods(
    handlers: type,
) -> list[tuple[Callable[..., Any], tuple[object, ...], ListenerOptions]]:
    """The methods of a class that are marked with `on`, with events and options. Raises `ConfigurationError`."""
    if not inspect.isclass(handlers):
        raise ConfigurationError(
            f"handlers= takes a class whose methods are marked with @on, not {handlers!r}"
        )
    marked: list[tuple[Callable[..., Any], tuple[tuple[object, ...], ListenerOptions]]] = [
        (function, mark)
        for function in vars(handlers).values()
        if (mark := getattr(function, MARK, None)) is not None
    ]
    if not marked:
        raise ConfigurationError(
            f"no method of {handlers.__qualname__} is marked with @on(...); it handles nothing"
        )
    return [(function, events, options) for function, (events, options) in marked]


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
    shard: str | None = None,
    store: str | None = None,
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
    if shard is not None and Any in events:
        raise ConfigurationError(
            f"listener {chosen!r} wants everything in a shard; name the events whose shard it is, or give its group "
            "the shard's stream by streams=[Topic(...).shard(...).stream]"
        )
    if store is not None and acknowledge == "manual":
        raise ConfigurationError(
            f"listener {chosen!r} has a store and acknowledges by itself; its message is acknowledged once the "
            "transaction is committed: leave acknowledge= out"
        )
    listener = Listener(
        chosen,
        function,
        events,
        owner,
        batch,
        parse_duration(wait),
        None if timeout is None else parse_duration(timeout),
        acknowledge,
        retry,
        shard,
        store,
    )
    if shard is not None:
        _ = listener.streams  # said here, where the shard is written, if it cannot name one
    return listener


def _method_listener(
    owner: type, function: Callable[..., Any], events: tuple[object, ...], options: ListenerOptions
) -> Listener:
    named: ListenerOptions = {"name": f"{owner.__name__}.{function.__name__}", **options}
    return _listener(function, events, owner=owner, **named)


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
