"""What a handler asks for, found out once at start: its parameters become a plan, and calling follows the plan.

A parameter is filled by its type: the event, the `Message`, a `Delivery`, or whatever a factory was provided for. An
unknown type is an error at start, never at the first message.
"""

import asyncio
import contextvars
import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from penstock.errors import ConfigurationError, UnknownDependencyError
from penstock.event import is_event
from penstock.listeners.delivery import Delivery
from penstock.message import Message

__all__ = ["CallPlan", "Dependencies", "Factory", "plan_call"]

Factory: TypeAlias = Callable[..., Any]
"""Makes a dependency: a function, coroutine function, or (async) generator function that yields it and cleans up."""

Source: TypeAlias = Literal["body", "message", "delivery", "bodies", "messages", "deliveries"] | type
"""What fills a parameter: a part of the delivery, or the type of a dependency."""


@dataclass(slots=True)
class _Provider:
    factory: Factory
    shared: bool


@dataclass
class Dependencies:
    """Factories by the type that they make. What a shared one made lives until `close`."""

    _providers: dict[type, _Provider] = field(default_factory=dict)
    _overrides: dict[type, _Provider] = field(default_factory=dict)
    _shared: dict[type, Any] = field(default_factory=dict)
    _making: dict[type, "asyncio.Future[Any]"] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def provide(self, type_: type, factory: Factory, *, shared: bool) -> None:
        """Make *type_* available to handlers. *shared*: one for the life of the app; else one per message."""
        self._providers[type_] = _Provider(factory, shared)

    def provide_value(self, type_: type, value: object) -> None:
        """Make a thing that is there already available."""
        self._providers[type_] = _Provider(lambda: value, shared=True)

    @contextmanager
    def override(self, type_: type, factory: Factory) -> Iterator[None]:
        """Within the block, *type_* is made by *factory* (tests)."""
        former = self._overrides.get(type_)
        kept = self._without(type_)
        self._overrides[type_] = _Provider(factory, shared=False)
        try:
            yield
        finally:
            self._without(type_)  # what was made with the override
            if former is None:
                del self._overrides[type_]
            else:
                self._overrides[type_] = former
            self._shared |= kept

    def _without(self, type_: type) -> dict[type, Any]:
        """Take out the shared things that are *type_*, or were made with one; they are made again when asked for."""
        taken = {each: made for each, made in self._shared.items() if self._is_made_with(each, type_)}
        self._shared = {each: made for each, made in self._shared.items() if each not in taken}
        return taken

    def _is_made_with(self, type_: type, wanted: type) -> bool:
        if type_ is wanted:
            return True
        factory = self._provider(type_).factory
        needs = self.needs_of(factory, getattr(factory, "__name__", repr(factory))).values()
        return any(self._is_made_with(each, wanted) for each in needs)

    def knows(self, type_: Any) -> bool:
        """Whether there is a factory for *type_*."""
        return type_ in self._providers or type_ in self._overrides

    def needs_of(self, function: Callable[..., Any], name: str) -> Mapping[str, type]:
        """The parameters of a factory and the types that fill them. Raises `UnknownDependencyError`."""
        needs: dict[str, type] = {}
        for parameter, wanted in _parameters(function, name):
            if not self.knows(wanted):
                if parameter.default is not inspect.Parameter.empty:
                    continue
                raise UnknownDependencyError(name, parameter.name, _shown(wanted))
            needs[parameter.name] = typing.cast(type, wanted)
        return needs

    def check(self) -> None:
        """Check that every factory's own needs can be met, and that none needs itself."""
        for type_ in [*self._providers, *self._overrides]:
            self._check(type_, ())

    def _check(self, type_: type, path: tuple[type, ...]) -> None:
        if type_ in path:
            circle = " -> ".join(_shown(each) for each in (*path, type_))
            raise ConfigurationError(
                f"dependencies go in a circle: {circle}; break it with a factory that needs less"
            )
        factory = self._provider(type_).factory
        for wanted in self.needs_of(factory, getattr(factory, "__name__", repr(factory))).values():
            self._check(wanted, (*path, type_))

    def _provider(self, type_: type) -> _Provider:
        return self._overrides.get(type_) or self._providers[type_]

    async def make(self, type_: type, stack: AsyncExitStack) -> Any:
        """A dependency; what is made for one message is cleaned up by *stack*."""
        provider = self._provider(type_)
        if not provider.shared:
            return await self._call(provider.factory, stack)
        if type_ in self._shared:
            return self._shared[type_]
        if (making := self._making.get(type_)) is None:
            making = self._making[type_] = asyncio.ensure_future(self._call(provider.factory, self._stack))
            making.add_done_callback(lambda _: self._making.pop(type_, None))
        made = self._shared[type_] = await asyncio.shield(making)
        return made

    async def _call(self, factory: Factory, stack: AsyncExitStack) -> Any:
        needs = self.needs_of(factory, getattr(factory, "__name__", repr(factory)))
        arguments = {name: await self.make(wanted, stack) for name, wanted in needs.items()}
        if inspect.isasyncgenfunction(factory):
            return await stack.enter_async_context(asynccontextmanager(factory)(**arguments))
        if inspect.isgeneratorfunction(factory):
            return stack.enter_context(contextmanager(factory)(**arguments))
        made = factory(**arguments)
        return await made if inspect.isawaitable(made) else made

    def forget(self) -> None:
        """Drop what is shared without cleaning up: its event loop is gone."""
        self._shared.clear()
        self._making.clear()
        self._stack.pop_all()

    async def close(self) -> None:
        """Clean up what is shared."""
        self._shared.clear()
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How one handler is called. `body` is the type its body parameter is annotated with, ``None`` without one."""

    function: Callable[..., Any]
    owner: type | None
    is_async: bool
    sources: tuple[tuple[str, Source], ...]
    body: Any
    only_body: bool
    """The handler takes nothing but the event, by position: the hot path."""

    async def call(
        self,
        dependencies: Dependencies,
        executor: Executor | None,
        bodies: list[Any],
        deliveries: list[Delivery],
    ) -> None:
        """Run the handler over one delivery, or over a batch of them.

        Raises what the handler raises, also when a dependency that sees the error at its ``yield`` swallows it; and
        what the cleaning up of a dependency raises, for what it was to finish (a commit) is not done then.
        """
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                await self._call(dependencies, executor, bodies, deliveries, stack)
            except BaseException as raised:
                failure = raised
                raise
        if failure is not None:
            raise failure

    async def _call(
        self,
        dependencies: Dependencies,
        executor: Executor | None,
        bodies: list[Any],
        deliveries: list[Delivery],
        stack: AsyncExitStack,
    ) -> None:
        arguments: dict[str, Any] = {}
        for name, source in self.sources:
            match source:
                case "body":
                    arguments[name] = bodies[0]
                case "message":
                    arguments[name] = deliveries[0].message
                case "delivery":
                    arguments[name] = deliveries[0]
                case "bodies":
                    arguments[name] = bodies
                case "messages":
                    arguments[name] = [delivery.message for delivery in deliveries]
                case "deliveries":
                    arguments[name] = deliveries
                case _:
                    arguments[name] = await dependencies.make(source, stack)
        function = self.function
        if self.owner is not None:
            function = functools.partial(function, await dependencies.make(self.owner, stack))
        if self.is_async:
            await function(**arguments)
        else:
            made = await run_in_thread(executor, functools.partial(function, **arguments))
            if inspect.isawaitable(made):
                await made  # a plain function around a coroutine function


def run_in_thread(executor: Executor | None, function: Callable[[], Any]) -> Awaitable[Any]:
    """Call *function* on a thread, in a copy of the present context."""
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(
        executor, lambda: context.run(_call_on_thread, function)
    )


def _call_on_thread(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except StopIteration as failure:
        # No future can carry it (before Python 3.12 whoever awaits would wait for ever); coroutines turn it into this.
        raise RuntimeError("the handler raised StopIteration") from failure


def plan_call(
    function: Callable[..., Any],
    *,
    name: str,
    dependencies: Dependencies,
    batch: bool,
    owner: type | None = None,
) -> CallPlan:
    """Find out what fills each parameter of a handler.

    Raises:
        UnknownDependencyError: A parameter's type is neither the event, nor ours, nor provided.
        ConfigurationError: The handler's shape cannot work (two bodies; no annotations to go by).
    """
    sources: list[tuple[str, Source]] = []
    body: Any = None
    has_body = False
    only_body = True
    parameters = _parameters(function, name, skip_self=owner is not None)
    for parameter, wanted in parameters:
        source = _part_of_delivery(wanted, batch)
        if source is None and dependencies.knows(wanted):
            source = typing.cast(type, wanted)
        if source is None and not has_body and _may_be_body(wanted, parameter is parameters[0][0]):
            source, body, has_body = ("bodies" if batch else "body"), _body_type(wanted, batch, name), True
        if source is None:
            if parameter.default is not inspect.Parameter.empty:
                continue
            raise UnknownDependencyError(name, parameter.name, _shown(wanted))
        only_body = only_body and source == "body" and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        sources.append((parameter.name, source))
    is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
    return CallPlan(
        function,
        owner,
        is_async,
        tuple(sources),
        body if has_body else None,
        only_body and len(sources) == 1 and is_async and owner is None,
    )


def _parameters(
    function: Callable[..., Any], name: str, *, skip_self: bool = False
) -> list[tuple[inspect.Parameter, object]]:
    target = inspect.getattr_static(function, "__init__") if isinstance(function, type) else function
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(target)
    except (NameError, TypeError, ValueError) as failure:
        raise ConfigurationError(
            f"the annotations of {name!r} cannot be read: {failure}; import what they name at module level"
        ) from failure
    parameters = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    if skip_self:
        parameters = parameters[1:]
    if any(parameter.kind is inspect.Parameter.POSITIONAL_ONLY for parameter in parameters):
        raise ConfigurationError(f"{name!r} has positional-only parameters; take them by name")
    return [(parameter, hints.get(parameter.name, Any)) for parameter in parameters]


def _part_of_delivery(wanted: object, batch: bool) -> Source | None:
    if wanted is Message:
        return "message"
    if wanted is Delivery:
        return "delivery"
    if batch and typing.get_origin(wanted) is list:
        [inner] = typing.get_args(wanted)
        if inner is Message:
            return "messages"
        if inner is Delivery:
            return "deliveries"
    return None


def _may_be_body(wanted: object, is_first: bool) -> bool:
    """Declared events always; anything else only as the first parameter."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return all(is_event(each) for each in typing.get_args(wanted)) or is_first
    return is_first or is_event(wanted)


def _body_type(wanted: object, batch: bool, name: str) -> object:
    if not batch:
        return wanted
    if wanted is Any:
        return Any
    if typing.get_origin(wanted) is not list:
        raise ConfigurationError(
            f"{name!r} handles batches; annotate its events as list[...], not {_shown(wanted)}"
        )
    [inner] = typing.get_args(wanted)
    return inner


def _shown(wanted: object) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)
