"""A page of events through the handlers of a projection: the other side of `Page` and `Handlers`."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from penstock.errors import ConfigurationError
from penstock.listeners.calls import Dependencies
from penstock.projections._routes import Route, Routes
from penstock.projections.abc import LIVE
from penstock.projections.derived import DERIVED_BY, Derived, remove_derived
from penstock.projections.elsewhere import ElsewhereReadModel, led, place_of
from penstock.projections.generation import Generation
from penstock.projections.read_models import ReadModel, TableSet
from penstock.projections.state import StateKind
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from penstock.store.work import Wanted, Work, Workshop, asked_types
from penstock.streams.publisher import CURRENT_MESSAGE
from penstock.telemetry import LOGGER

__all__ = ["CompiledHandlers", "HandlerPage"]

_DIRECT = frozenset({Wanted.RAW, Wanted.ALCHEMY})


class CompiledHandlers:
    """The handlers of a projection, checked and ready: what the engine is given."""

    def __init__(
        self,
        projection: str,
        routes: Routes,
        dependencies: Dependencies,
        *,
        target: StoreBackend,
        tables: TableSet,
        read_model: type[ReadModel] | None = None,
        state: StateKind | None = None,
        source: str | None = None,
    ) -> None:
        self.projection = projection
        self.routes = routes
        self.dependencies = dependencies
        self.target = target
        self.read_model = read_model
        self.state = state
        self.source = source
        """The app, as events name it."""
        self.workshop = Workshop(target.database)
        asked = routes.asked
        self.mixes = Wanted.SESSION in asked and bool(asked & _DIRECT)
        """Whether what a session holds has to be brought in line with statements that pass it by."""
        self.derives = Derived in routes.needs
        """Whether it appends to streams of its own."""
        self._tables = tables

    @property
    def names(self) -> frozenset[str] | None:
        """The event names that have a handler; ``None`` for any."""
        return self.routes.names

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> "HandlerPage":
        """Handle one page inside the transaction that *connection* is in."""
        return HandlerPage(self, connection, state, generation)

    def prepare(self, connection: Connection) -> None:
        """Make the tables that are missing, and have the read model make itself."""
        work = self.workshop.begin(connection)
        try:
            self._tables.create(self.target.database, connection, work)
            if self.read_model is not None:
                model = self.read_model(work)
                if isinstance(model, ElsewhereReadModel):
                    if place_of(self.target.database, connection, self.projection, LIVE) is not None:
                        # A switch whose process was killed before readers were led on.
                        led(model, self.target.database, connection, self.projection, LIVE).promote()
                elif not model.is_initialised():
                    model.init()
            work.settle()
        finally:
            work.end()

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the read model (*delete*: remove it), and with *emitted* the derived streams, in the transaction."""
        database = self.target.database
        work = self.workshop.begin(connection)
        try:
            if self.read_model is not None:
                model = self.read_model(work)
                if isinstance(model, ElsewhereReadModel):
                    led(model, database, connection, self.projection, LIVE)
                if delete:
                    model.delete()
                else:
                    model.reset()
                work.settle()
        finally:
            work.end()
        if delete:
            self._tables.drop(database, connection)
        else:
            self._tables.empty(database, connection)
        if emitted:
            remove_derived(database, connection, self.projection, forget=delete)


class HandlerPage:
    """One transaction's worth of handling. What handlers ask for is made once, when the first one wants it."""

    def __init__(
        self, handlers: CompiledHandlers, connection: Connection, state: bytes | None, generation: str
    ) -> None:
        self._handlers = handlers
        self._work: Work = handlers.workshop.begin(connection)
        self._generation = Generation(generation)
        self._kind = handlers.state
        self._state: Any = None if self._kind is None else self._kind.read(state)
        self._bound: dict[str, list[Callable[[StoredEvent], None]]] = {}
        self._made: dict[Any, Any] = {}
        self._scope: Dependencies | None = None
        self._stack: AsyncExitStack | None = None
        self._loop: asyncio.Runner | None = None
        self._derived: Derived | None = None
        self._model: ReadModel | None = None
        self._about: list[Callable[[StoredEvent], None]] = []
        """What is told of each event before its handlers run."""
        self._has_appended = False
        self._failure: BaseException | None = None

    def handle(self, event: StoredEvent) -> None:
        """Run every handler for it. Raises what they raise, and `CodecError`."""
        if self._handlers.derives and event.headers.get(DERIVED_BY) == self._handlers.projection:
            return
        bound = self._bound.get(event.name)
        token = CURRENT_MESSAGE.set(event)
        try:
            if bound is None:
                routes = self._handlers.routes.of(event.name)
                bound = self._bound[event.name] = [self._bind(route) for route in routes]
            for about in self._about:
                about(event)
            for call in bound:
                call(event)
        except BaseException as failure:
            self._failure = failure
            raise
        finally:
            CURRENT_MESSAGE.reset(token)

    def finish(self) -> bytes | None:
        """Write what was held back; the new state of a state projection. Raises what that raises."""
        try:
            if self._model is not None:
                self._model.persist()
            self._work.settle()
            if self._stack is not None:
                stack, self._stack = self._stack, None
                self._run(stack.aclose())
                self._work.settle()
            if self._derived is not None:
                # What is derived is derived once, by whoever is live.
                self._has_appended = self._generation.is_live and bool(self._derived.flush())
            self._work.check()
        except BaseException as failure:
            self._failure = failure
            raise
        return None if self._kind is None else self._kind.write(self._state)

    def discard(self) -> None:
        """The transaction was rolled back: forget what was made for it."""
        failure = self._failure or _Discarded("the page was rolled back")
        if self._stack is not None:
            stack, self._stack = self._stack, None
            try:
                self._run(stack.__aexit__(type(failure), failure, failure.__traceback__))
            except Exception as another:  # noqa: BLE001  it is a factory of the user's that cleans up
                if another is not failure:
                    LOGGER.warning(
                        "projection %r: cleaning up after a page failed: %s",
                        self._handlers.projection,
                        another,
                    )
        self._end()

    def committed(self) -> None:
        """The transaction was committed: clean up, and ring where something was appended."""
        self._end()
        if self._has_appended:
            self._handlers.target.ring()

    # -- what handlers are given --------------------------------------------------------------------------------

    def _bind(self, route: Route) -> Callable[[StoredEvent], None]:
        """A function that runs one handler for an event; everything but the event is there already."""
        given = {name: self._work.get(wanted) for name, wanted in route.parts}
        given |= {name: self._make(type_) for name, type_ in route.others}
        function = route.plan.function
        if route.handler.owner is not None:
            function = partial(function, self._make(route.handler.owner))
        body, messages, mappers, state = route.body, route.messages, route.mappers, route.state
        parts = tuple(wanted for _, wanted in route.parts) if self._handlers.mixes else ()
        touches = any(wanted is not Wanted.ROWS for _, wanted in route.parts)
        work, decode, decided = self._work, route.decode, self._decided

        if body is not None and not (parts or messages or mappers or touches or state is not None):

            def call_with_event(event: StoredEvent) -> None:
                made = function(**{body: decode(event)}, **given)
                if made is not None:
                    decided(made, False)

            return call_with_event

        def call(event: StoredEvent) -> None:
            for wanted in parts:
                work.ready(wanted)
            if body is not None:
                given[body] = decode(event)
            for name in messages:
                given[name] = event
            for name, mapper in mappers:
                given[name] = mapper(event)
            if state is not None:
                given[state] = self._state
            made = function(**given)
            if made is not None:
                decided(made, state is not None)
            if touches:
                work.check()

        return call

    def _decided(self, made: Any, folds: bool) -> None:
        """What a handler returned: a coroutine is run, a fold's result is the new state."""
        if inspect.isawaitable(made):
            made = self._run(_awaited(made))
        if folds and made is not None:
            self._state = made

    def _make(self, type_: Any) -> Any:
        if type_ not in self._made:
            self._made[type_] = self._given(type_)
        return self._made[type_]

    def _given(self, type_: Any) -> Any:
        if type_ is Generation:
            return self._generation
        if type_ is Derived:
            return self._derive()
        if type_ is self._handlers.read_model:
            return self._read_model()
        if self._stack is None:
            self._stack = AsyncExitStack()
        return self._run(self._in_scope().make(type_, self._stack))

    def _in_scope(self) -> Dependencies:
        if self._scope is None:
            work, handlers = self._work, self._handlers
            values: dict[type, Callable[[], Any]] = {
                type_: _getting(work, wanted)
                for type_, wanted in asked_types(handlers.target.dialect).items()
            }
            values |= {Generation: lambda: self._generation, Derived: self._derive}
            if handlers.read_model is not None:
                values[handlers.read_model] = self._read_model
            self._scope = handlers.dependencies.scope(values)
            for owner in handlers.routes.owners:
                if not handlers.dependencies.knows(owner):
                    self._scope.provide(owner, owner, shared=False)
        return self._scope

    def _derive(self) -> Derived:
        if self._derived is None:
            handlers = self._handlers
            self._derived = Derived(
                handlers.projection,
                steps=handlers.target.steps,
                database=handlers.target.database,
                connection=self._work.connection,
                source=handlers.source,
            )
            self._tell(self._derived.about)
        return self._derived

    def _tell(self, about: Callable[[StoredEvent], None]) -> None:
        """Have *about* called with the present event, and with all that come."""
        self._about.append(about)
        event = CURRENT_MESSAGE.get()
        if isinstance(event, StoredEvent):
            about(event)

    def _read_model(self) -> ReadModel:
        if self._model is None:
            kind = self._handlers.read_model
            if kind is None:
                raise ConfigurationError(f"projection {self._handlers.projection!r} has no read_model=")
            self._model = kind(self._work)
            if isinstance(self._model, ElsewhereReadModel):
                self._lead(self._model)
        return self._model

    def _lead(self, model: ElsewhereReadModel) -> None:
        """Have it write where its generation is."""
        handlers, connection = self._handlers, self._work.connection
        led(model, handlers.target.database, connection, handlers.projection, self._generation.name)
        self._tell(model.about)

    # -- coroutines ---------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on an event loop of the page's own, in this thread."""
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(work, context=contextvars.copy_context())

    def _end(self) -> None:
        self._bound.clear()
        self._made.clear()
        self._work.end()
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()


def _getting(work: Work, wanted: Wanted) -> Callable[[], Any]:
    return lambda: work.get(wanted)


class _Discarded(Exception):  # noqa: N818  not an error of ours
    """What is raised at the ``yield`` of a dependency when its page is rolled back for another's fault."""


async def _awaited(made: Any) -> Any:
    return await made
