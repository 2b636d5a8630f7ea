"""One delivery through the listeners of its group: decode, call, and a verdict that says what is to be settled.

Handling decides nothing about the server: it turns messages into verdicts, and the worker settles those.
"""

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.errors import CodecError
from penstock.event import EventType, event_type, is_event
from penstock.listeners._speeds import Speeds
from penstock.listeners.calls import CallPlan, Dependencies, plan_call
from penstock.listeners.delivery import Delivery
from penstock.listeners.groups import Call, Group, Listener, Middleware
from penstock.listeners.inbox import plan_inbox
from penstock.message import Message
from penstock.retry import Keep, Record, Retry, Signal, decide
from penstock.streams.abc import ListenerFailure
from penstock.streams.publisher import CURRENT_MESSAGE

__all__ = ["HANDLED", "Failed", "Handled", "Handling", "Kept", "Route", "Routes", "Verdict", "failure_of"]


@dataclass(frozen=True, slots=True)
class Handled:
    """Every listener succeeded (or there was none, and the policy acknowledges)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Nothing is recorded: the entry stays pending, for anyone at once (`release`) or with this consumer."""

    release: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """These listeners failed; `errors` are what they raised, in the same order."""

    failures: tuple[ListenerFailure, ...]
    errors: tuple[BaseException, ...]


Verdict: TypeAlias = Handled | Kept | Failed
HANDLED = Handled()
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One listener for one event name: how it is called and what its body is decoded to."""

    listener: Listener
    plan: CallPlan
    event_type: EventType | None
    body_type: Any
    """Used when there is no event type: ``Any`` gives the plain payload."""
    policy: Retry


@dataclass(frozen=True, slots=True, eq=False)
class RouteSet:
    """The routes of one event name, with what the hot path wants to know about them."""

    routes: tuple[Route, ...]
    batches: bool
    """Whether one of them takes batches."""
    direct: Route | None
    """The only route, if its handler is a coroutine function of the event alone, unwrapped and without a time limit."""
    batch_of: object
    """Events whose sets have an equal one here may share a batch: the event's name, unless its only route takes
    messages as they come."""


class Routes:
    """Which listeners handle which event name, compiled from a group once and again whenever it changes."""

    def __init__(self, group: Group, dependencies: Dependencies, *, wrapped: bool = False) -> None:
        self._group = group
        self._dependencies = dependencies
        self._wrapped = wrapped
        self._version = -1
        self._plans: dict[Listener, CallPlan] = {}
        self._cache: dict[str, RouteSet] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at every listener now. Raises `ConfigurationError` for one that cannot be called."""
        self._version = self._group.version
        self._cache = {}
        self._plans = {
            listener: self._plans.get(listener) or self._plan(listener) for listener in self._group.listeners
        }

    def _plan(self, listener: Listener) -> CallPlan:
        owner = listener.owner
        if listener.store is not None:
            return plan_inbox(
                listener.function,
                name=listener.name,
                group=self._group.name,
                store=listener.store,
                dependencies=self._dependencies,
                batch=listener.batch is not None,
                owner=owner,
            )
        if owner is not None and not self._dependencies.knows(owner):
            self._dependencies.provide(owner, owner, shared=False)
            self._dependencies.needs_of(owner, owner.__qualname__)
        return plan_call(
            listener.function,
            name=listener.name,
            dependencies=self._dependencies,
            batch=listener.batch is not None,
            owner=owner,
        )

    def of(self, name: str) -> RouteSet:
        """The routes for an event name, in the order of declaration."""
        if self._version != self._group.version:
            self.refresh()
        found = self._cache.get(name)
        if found is None:
            found = self._find(name)
            if len(self._cache) < _MOST_NAMES:  # names come from outside: they must not fill the memory
                self._cache[name] = found
        return found

    def _find(self, name: str) -> RouteSet:
        routes = tuple(
            self._route(listener, plan, name)
            for listener, plan in self._plans.items()
            if listener.names is None or name in listener.names
        )
        return RouteSet(
            routes,
            any(route.listener.batch is not None for route in routes),
            routes[0] if len(routes) == 1 and not self._wrapped and _is_direct(routes[0]) else None,
            routes[0].listener if len(routes) == 1 and _takes_anything(routes[0]) else name,
        )

    def named(self, name: str, listener: str) -> Route | None:
        """The route of one listener for an event name."""
        return next((route for route in self.of(name).routes if route.listener.name == listener), None)

    def _route(self, listener: Listener, plan: CallPlan, name: str) -> Route:
        declared = next(
            (
                event_type(each)
                for each in listener.events
                if is_event(each) and event_type(each).name == name
            ),
            None,
        )
        if declared is None and is_event(plan.body):
            declared = event_type(plan.body)
        return Route(listener, plan, declared, plan.body, listener.retry or self._group.settings.retry)


class Handling:
    """Calls listeners and judges the outcome."""

    def __init__(
        self,
        group: Group,
        dependencies: Dependencies,
        *,
        middleware: Sequence[Middleware] = (),
        executor: Executor | None = None,
    ) -> None:
        self.routes = Routes(group, dependencies, wrapped=bool(middleware))
        self.group = group
        self.executor = executor
        """Where synchronous handlers run; without one, on the event loop's own threads."""
        self._dependencies = dependencies
        self._middleware = tuple(middleware)
        self.speeds = Speeds()
        """How fast its listeners are."""

    async def handle(
        self, message: Message, routes: Sequence[Route], acknowledge: Callable[[Message], Any]
    ) -> Verdict:
        """Run the listeners over one message, each whatever became of the others."""
        errors: list[tuple[Route, BaseException | Kept]] = []
        for route in routes:
            outcome = await self.handle_one(message, route, acknowledge)
            if outcome is not None:
                errors.append((route, outcome))
        return self.judge(errors, message.attempt) if errors else HANDLED

    async def handle_direct(self, message: Message, direct: Route) -> BaseException | None:
        """Run a `RouteSet.direct` listener; what it raised. The hot path: nothing stands in between."""
        token = CURRENT_MESSAGE.set(message)
        began, failed = time.perf_counter(), True
        try:
            await direct.plan.function(decode_for(direct, message))
            failed = False
        except BaseException as failure:
            if is_our_cancellation(failure):
                raise
            return failure
        finally:
            CURRENT_MESSAGE.reset(token)
            seconds = time.perf_counter() - began
            self.speeds.ran(message.stream, direct.listener.name, seconds, failed=failed)
        return None

    async def handle_one(
        self, message: Message, route: Route, acknowledge: Callable[[Message], Any]
    ) -> BaseException | Kept | None:
        """Run one listener over one message; what became of it."""
        delivery = _delivery(message, acknowledge)
        token = CURRENT_MESSAGE.set(message)
        try:
            failure = await self._alone(route, delivery)
        finally:
            CURRENT_MESSAGE.reset(token)
        if failure is None and route.listener.acknowledge == "manual" and not delivery.is_acknowledged:
            return Kept(release=False)
        return failure

    async def handle_batch(
        self, messages: Sequence[Message], route: Route, acknowledge: Callable[[Message], Any]
    ) -> list[BaseException | Kept | None]:
        """Run one batch listener over messages that may share a batch; what became of each.

        A failing batch is run again one by one, so that only the bad ones fail.
        """
        outcomes: list[BaseException | Kept | None] = [None] * len(messages)
        good: list[int] = []
        bodies: list[Any] = []
        for number, message in enumerate(messages):
            try:
                bodies.append(decode_for(route, message))
                good.append(number)
            except CodecError as failure:
                outcomes[number] = failure
        deliveries = [_delivery(messages[number], acknowledge) for number in good]
        try:
            if good:
                await self._call(route, bodies, deliveries)
        except BaseException as failure:
            if is_our_cancellation(failure):
                raise
            if len(good) == 1 or isinstance(failure, Signal):
                for number in good:
                    outcomes[number] = failure
            else:
                for number, delivery in zip(good, deliveries, strict=True):
                    if not delivery.is_acknowledged:
                        outcomes[number] = await self._alone(route, delivery)
        if route.listener.acknowledge == "manual":
            for number, delivery in zip(good, deliveries, strict=True):
                if outcomes[number] is None and not delivery.is_acknowledged:
                    outcomes[number] = Kept(release=False)
        return outcomes

    async def _alone(self, route: Route, delivery: Delivery) -> BaseException | None:
        try:
            await self._call(route, [decode_for(route, delivery.message)], [delivery])
        except BaseException as failure:
            if is_our_cancellation(failure):
                raise
            return failure
        return None

    async def _call(self, route: Route, bodies: list[Any], deliveries: list[Delivery]) -> None:
        listener = route.listener

        async def run() -> None:
            began, failed = time.perf_counter(), True
            try:
                async with asyncio.timeout(listener.timeout.total_seconds() if listener.timeout else None):
                    await route.plan.call(self._dependencies, self.executor, bodies, deliveries)
                failed = False
            finally:
                stream = deliveries[0].message.stream
                self.speeds.ran(stream, listener.name, time.perf_counter() - began, failed=failed)

        if not self._middleware:
            await run()
            return
        call = Call(listener, self.group.name, tuple(delivery.message for delivery in deliveries))
        proceed = run
        for wrap in reversed(self._middleware):
            proceed = _wrapped(wrap, call, proceed)
        await proceed()

    def judge(self, errors: Sequence[tuple[Route, BaseException | Kept]], attempt: int) -> Verdict:
        """The verdict over what the listeners of one message raised; nothing raised is `HANDLED`."""
        for _, failure in errors:
            if isinstance(failure, Kept):
                return failure
        return self._judge(
            [(route, each) for route, each in errors if isinstance(each, BaseException)], attempt
        )

    def _judge(self, errors: Sequence[tuple[Route, BaseException]], attempt: int) -> Verdict:
        """One listener that keeps the entry pending keeps it for all: there is never a second recovery path."""
        if not errors:
            return HANDLED
        failures: list[ListenerFailure] = []
        keep: Kept | None = None
        for route, failure in errors:
            match decide(failure, attempt, route.policy):
                case Keep(release):
                    keep = Kept(release)
                case Record(after):
                    failures.append(failure_of(route.listener.name, failure, after))
        if keep is not None:
            return keep
        if self.group.settings.on_failure == "leave_pending":
            return Kept(release=False)
        return Failed(tuple(failures), tuple(failure for _, failure in errors))


def _takes_anything(route: Route) -> bool:
    """Whether a batch listener does without decoded events, so that their names do not matter."""
    return route.listener.batch is not None and route.event_type is None and route.body_type in (None, Any)


def _is_direct(route: Route) -> bool:
    listener = route.listener
    return (
        route.plan.only_body
        and listener.timeout is None
        and listener.batch is None
        and listener.acknowledge == "auto"
    )


def decode_for(route: Route, message: Message) -> Any:
    """The body as a route's listener wants it. Raises `CodecError`."""
    if (declared := route.event_type) is not None:
        meta = message.meta
        return declared.decode(message.data, version=meta.version, content_type=meta.content_type)
    if route.body_type is None:
        return None
    if route.body_type is Any:
        return message.payload
    return message.decode(route.body_type)


def failure_of(
    listener: str, failure: BaseException, after: Any, *, cause: str | None = None
) -> ListenerFailure:
    """What is recorded of a failure; *after* is the wait before the next run, ``None`` for none."""
    named = cause or ("undecodable" if isinstance(failure, CodecError) else "error")
    text = "".join(traceback.format_exception(failure, limit=-20))
    kind = type(failure)
    shown = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return ListenerFailure(listener, named, shown, str(failure)[:4000], text[-16000:], after)


def is_our_cancellation(failure: BaseException) -> bool:
    """Whether the worker is being stopped, as opposed to a handler that raised such a thing by itself."""
    if isinstance(failure, GeneratorExit):
        return True
    if not isinstance(failure, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _delivery(message: Message, acknowledge: Callable[[Message], Any]) -> Delivery:
    return Delivery(message, lambda: acknowledge(message))


def _wrapped(wrap: Middleware, call: Call, proceed: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: wrap(call, proceed)
