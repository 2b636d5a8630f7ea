"""What a user declares: a projection, the handlers on it, and everything that may be said about it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, TypeVar, cast, get_args

from penstock.clock import parse_duration
from penstock.errors import ConfigurationError, PenstockError, UsageError
from penstock.event import is_event
from penstock.listeners.calls import Dependencies
from penstock.listeners.groups import MARK, marked_methods
from penstock.projections._pages import CompiledHandlers
from penstock.projections._routes import Handler, Routes, state_annotation
from penstock.projections.abc import Mode, OnFailure, ProjectionPlan
from penstock.projections.read_models import ReadModel, TableSet
from penstock.projections.state import UNSET, StateKind
from penstock.retry import Retry
from penstock.store.abc import EventFilter, StoreBackend

__all__ = ["Projection", "ProjectionOptions"]

F = TypeVar("F", bound=Callable[..., Any])


class ProjectionOptions(TypedDict, total=False):
    """What may be said of a projection; see `Projection`."""

    version: int
    store: str
    into: str
    streams: Sequence[str]
    categories: Sequence[str]
    tables: Sequence[Any]
    read_model: type[ReadModel] | None
    state: Any
    mode: Literal["background", "on_demand"]
    on_failure: Literal["halt", "retry", "park", "skip"]
    retry: Retry | None
    page: int
    page_time: timedelta | str
    by_key: bool
    handlers: type | None


class Projection:
    """Events of a store turned into a read model, each exactly once: ``totals = app.projection("customer_totals")``.

    Handlers hang on it by `on`. A page of events is handled in one transaction of the read model's database, and the
    position moves in the same one.

    Args:
        name: Its checkpoint's name: keep it.
        version: Goes up when the read model has to be built anew.
        store: The store that is read.
        into: The store in whose database the read model and the checkpoint are.
        streams: Event streams to follow; with *categories* left out as well, all of the store.
        categories: Categories of event streams to follow.
        tables: The tables of the read model: SQLAlchemy models or tables, which are made when missing, or names.
        read_model: A class that makes, empties and removes its own tables; see `ReadModel`.
        state: What a fold begins with (a value, or a type or function that makes it): handlers then take the state
            first and may return another one. It is saved with the position; `state` reads it.
        mode: ``background`` stays; ``on_demand`` runs when there is something, and ends when there is not.
        on_failure: What becomes of an event whose handler fails; see the reference page of projections.
        retry: How often and how long apart a failing event is tried.
        page: How many events one transaction handles at most; twice as many small ones while a replay plays them.
        page_time: How long one transaction goes on at most, to the end of an event.
        by_key: Whether each row that it writes is of one key of the events, so that keys may be handled at the same
            time; a replay can then be built by several processes.
        handlers: A class whose methods are marked with ``@on(...)``.

    Raises:
        ConfigurationError: Something about it cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        store: str = "local",
        into: str = "local",
        streams: Sequence[str] = (),
        categories: Sequence[str] = (),
        tables: Sequence[Any] = (),
        read_model: type[ReadModel] | None = None,
        state: Any = UNSET,
        mode: Literal["background", "on_demand"] = "background",
        on_failure: Literal["halt", "retry", "park", "skip"] = "halt",
        retry: Retry | None = None,
        page: int = 1000,
        page_time: timedelta | str = timedelta(milliseconds=100),
        by_key: bool = False,
        handlers: type | None = None,
    ) -> None:
        self.name = _name("projection", name, name)
        self.version = _count(name, "version", version)
        self.store = _name("store", store, name)
        self.into = _name("store", into, name)
        self.streams = _names(name, "streams", "event stream", streams)
        self.categories = _names(name, "categories", "category", categories)
        for each in self.categories:
            if "-" in each:
                raise ConfigurationError(
                    f"projection {name!r} follows the category {each!r}, which has a '-'; a category is the name of a "
                    f"stream up to the first '-': {each.partition('-')[0]!r}, or name the stream with streams="
                )
        self.mode: Mode = _choice(name, "mode", mode, Mode)
        self.on_failure: OnFailure = _choice(name, "on_failure", on_failure, OnFailure)
        if retry is not None and not isinstance(retry, Retry):
            raise ConfigurationError(f"projection {name!r} has retry={retry!r}; give a Retry(...)")
        self.retry = retry or Retry()
        self.page = _count(name, "page", page)
        self.page_time = _page_time(name, page_time)
        self.by_key = by_key
        if isinstance(tables, str) or not isinstance(tables, Sequence):
            raise ConfigurationError(f"projection {name!r} has tables={tables!r}; give a list of tables")
        self.tables = TableSet(name, tables)
        if read_model is not None and not (
            isinstance(read_model, type) and issubclass(read_model, ReadModel)
        ):
            raise ConfigurationError(
                f"projection {name!r} has read_model={read_model!r}; give a class derived from ReadModel"
            )
        if state is not UNSET and (tables or read_model is not None):
            raise ConfigurationError(
                f"projection {name!r} has a state and a read model; a fold writes nothing but its state, so leave out "
                "state=, or tables= and read_model="
            )
        self.read_model = read_model
        self.initial = state
        self.handlers: list[Handler] = []
        self._read_state: Callable[[Projection], Awaitable[bytes | None]] | None = None
        if handlers is not None:
            self.add_class(handlers)

    # -- declaring ----------------------------------------------------------------------------------------------

    def on(self, *events: object, name: str | None = None) -> Callable[[F], F]:
        """Declare a handler; the decorated function stays what it was.

        *events* are event classes, event names, or ``Any`` for everything that is followed. A handler is a function
        or a coroutine function; what it asks for it gets by type: the event, `StoredEvent`, a session, `Rows`, ...

        Raises:
            ConfigurationError: The function cannot be a handler.
        """

        def declare(function: F) -> F:
            self._add(name or str(getattr(function, "__name__", function)), function, events)
            return function

        return declare

    def add_class(self, handlers: type) -> None:
        """Take in every method of a class that is marked with ``@on``. Raises `ConfigurationError` if there is none."""
        for function, events, options in marked_methods(handlers):
            if other := sorted(options.keys() - {"name"}):
                raise ConfigurationError(
                    f"{handlers.__qualname__}.{function.__name__} is marked with {', '.join(other)}, which is for "
                    f"listeners; projection {self.name!r} has its own page, retry and on_failure"
                )
            shown = options.get("name") or f"{handlers.__name__}.{function.__name__}"
            self._add(shown, function, events, owner=handlers)

    def add_handler(self, handler: Any) -> None:
        """Take in what settings name: a function, for all events; a class with methods marked with ``@on``; or one with
        a method ``handle``, for all events. Raises `ConfigurationError`.
        """
        if not isinstance(handler, type):
            self.on(Any)(handler)
            return
        whole = inspect.getattr_static(handler, "handle", None)
        if inspect.isfunction(whole) and not hasattr(whole, MARK):
            self._add(f"{handler.__name__}.handle", whole, (Any,), owner=handler)
        else:
            self.add_class(handler)

    def _add(self, name: str, function: Any, events: tuple[object, ...], owner: type | None = None) -> None:
        if not inspect.isroutine(function):
            raise ConfigurationError(
                f"{function!r} cannot handle events of projection {self.name!r}; decorate a function, or bring a class "
                "in with handlers="
            )
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise ConfigurationError(
                f"handler {name!r} of projection {self.name!r} yields; it is called once for an event and returns"
            )
        if not events:
            raise ConfigurationError(
                f"handler {name!r} of projection {self.name!r} is for nothing; name its events, as in .on(OrderPlaced)"
            )
        for each in events:
            if each is Any or (isinstance(each, str) and each) or is_event(each):
                continue
            raise ConfigurationError(
                f"handler {name!r} of projection {self.name!r} names {each!r}, which is no event; declare the class "
                "(Event, or @event), give the event's name, or Any"
            )
        added = Handler(name, function, events, owner)
        for other in self.handlers:
            if other.name == name and _overlap(other, added):
                raise ConfigurationError(
                    f"projection {self.name!r} already has a handler {name!r} for the same event; "
                    "give one of them another name="
                )
        self.handlers.append(added)

    # -- for the engine -----------------------------------------------------------------------------------------

    @property
    def plan(self) -> ProjectionPlan:
        """Everything the engine has to know about it. Raises `ConfigurationError` if it handles nothing."""
        if not self.handlers:
            raise ConfigurationError(
                f"projection {self.name!r} has no handlers; declare one with @{self.name}.on(...)"
                if self.name.isidentifier()
                else f"projection {self.name!r} has no handlers; declare one with .on(...)"
            )
        return ProjectionPlan(
            self.name,
            version=self.version,
            source=self.store,
            target=self.into,
            wanted=EventFilter(streams=self.streams, categories=self.categories),
            mode=self.mode,
            on_failure=self.on_failure,
            retry=self.retry,
            page_events=self.page,
            page_time=self.page_time,
            tables=self.tables.names,
        )

    def compile(
        self, dependencies: Dependencies, *, target: StoreBackend, source: str | None = None
    ) -> CompiledHandlers:
        """Its handlers, checked against what can be given to them. *target* is the store named `into`.

        *source* is what events that it derives name as their source.

        Raises:
            UnknownDependencyError: A handler asks for something that nothing provides.
            ConfigurationError: A handler asks for what cannot be given in this database, or the state cannot be kept.
            MissingExtraError: It needs SQLAlchemy, which is not installed.
        """
        _ = self.plan
        routes = Routes(
            self.name,
            self.handlers,
            dependencies,
            store=self.into,
            dialect=target.dialect,
            folds=self.is_fold,
            own=() if self.read_model is None else (self.read_model,),
        )
        return CompiledHandlers(
            self.name,
            routes,
            dependencies,
            target=target,
            tables=self.tables,
            read_model=self.read_model,
            state=StateKind(self.name, self.initial, state_annotation(self.handlers))
            if self.is_fold
            else None,
            source=source,
        )

    @property
    def is_fold(self) -> bool:
        """Whether it keeps a state."""
        return self.initial is not UNSET

    def bind(self, read_state: Callable[["Projection"], Awaitable[bytes | None]]) -> None:
        """Belong to an app, which knows where the saved state is."""
        self._read_state = read_state

    async def state(self) -> Any:
        """What it has folded so far, also while it runs. Raises `UsageError` if it keeps no state, `StoreError`."""
        if not self.is_fold:
            raise UsageError(
                f"projection {self.name!r} keeps no state; declare it with state=, or query its tables"
            )
        if self._read_state is None:
            raise UsageError(
                f"projection {self.name!r} belongs to no app yet; declare it with app.projection(...)"
            )
        kind = StateKind(self.name, self.initial, state_annotation(self.handlers))
        return kind.read(await self._read_state(self))

    def __repr__(self) -> str:
        return (
            f"<Projection {self.name} version {self.version} of {self.store}, {len(self.handlers)} handlers>"
        )


def _overlap(one: Handler, other: Handler) -> bool:
    first, second = one.names, other.names
    return first is None or second is None or bool(first & second)


def _name(what: str, name: object, projection: str) -> str:
    if not isinstance(name, str) or not name or name != name.strip() or any(ord(each) < 32 for each in name):
        raise ConfigurationError(
            f"{name!r} cannot name a {what}; use visible characters without blanks around them"
            + ("" if what == "projection" else f" (projection {projection!r})")
        )
    if len(name.encode("utf-8", "surrogatepass")) > 200:
        raise ConfigurationError(
            f"the name of {what} {name[:40]!r}... is longer than 200 bytes; take a shorter one"
        )
    return name


def _names(projection: str, where: str, what: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigurationError(
            f"projection {projection!r} has {where}={names!r}; give a list, as in ['order-1']"
        )
    found = [_name(what, each, projection) for each in cast("Sequence[object]", names)]
    for place, each in enumerate(found):
        if each in found[:place]:
            raise ConfigurationError(f"projection {projection!r} names {what} {each!r} twice; name it once")
    return tuple(found)


def _count(projection: str, what: str, number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < 2**31:
        raise ConfigurationError(
            f"projection {projection!r} has {what}={number!r}; it is a whole number of at least 1"
        )
    return number


def _choice(projection: str, what: str, word: Any, words: Any) -> Any:
    if word not in get_args(words):
        raise ConfigurationError(
            f"projection {projection!r} has {what}={word!r}; choose one of {', '.join(map(repr, get_args(words)))}"
        )
    return word


def _page_time(projection: str, written: timedelta | str) -> timedelta:
    try:
        found = parse_duration(written if isinstance(written, timedelta) else str(written))
    except PenstockError as failure:
        raise ConfigurationError(f"projection {projection!r} has page_time={written!r}: {failure}") from None
    if found < timedelta(milliseconds=1):
        raise ConfigurationError(f"projection {projection!r} has page_time={written!r}; it is at least 1ms")
    return found
