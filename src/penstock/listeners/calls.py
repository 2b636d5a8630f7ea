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
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from penstock.errors import ConfigurationError, UnknownDependencyError
from penstock.event import is_event
from penstock.listeners.delivery import Delivery
from penstock.listeners.dependencies import Dependencies, Factory, named, parameters_of
from penstock.message import Message

__all__ = ["CallPlan", "Dependencies", "Factory", "plan_call"]

Source: TypeAlias = Literal["body", "message", "delivery", "bodies", "messages", "deliveries", "state"] | type
"""What fills a parameter: a part of the delivery, the state of a fold, or the type of a dependency."""


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
                case "state":
                    pass  # only projections fold, and they call by themselves
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
    part: "Callable[[object, bool], Source | None] | None" = None,
    folds: bool = False,
) -> CallPlan:
    """Find out what fills each parameter of a handler.

    *part* says which types stand for a part of what is handled (and whether in batches), instead of `Message` and
    `Delivery`. With *folds* the first parameter is the state of a fold.

    Raises:
        UnknownDependencyError: A parameter's type is neither the event, nor ours, nor provided.
        ConfigurationError: The handler's shape cannot work (two bodies; no annotations to go by).
    """
    sources: list[tuple[str, Source]] = []
    body: Any = None
    has_body = False
    only_body = True
    parameters = parameters_of(function, name, skip_self=owner is not None)
    if folds:
        if not parameters:
            raise ConfigurationError(f"{name!r} folds, so it takes the state as its first parameter")
        sources.append((parameters[0][0].name, "state"))
        parameters = parameters[1:]
    for parameter, wanted in parameters:
        source = (part or _part_of_delivery)(wanted, batch)
        if source is None and dependencies.knows(wanted):
            source = typing.cast(type, wanted)
            dependencies.check(source)
        if source is None and not has_body and _may_be_body(wanted, parameter is parameters[0][0]):
            source, body, has_body = ("bodies" if batch else "body"), _body_type(wanted, batch, name), True
        if source is None:
            if parameter.default is not inspect.Parameter.empty:
                continue
            raise UnknownDependencyError(name, parameter.name, named(wanted))
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
            f"{name!r} handles batches; annotate its events as list[...], not {named(wanted)}"
        )
    [inner] = typing.get_args(wanted)
    return inner
