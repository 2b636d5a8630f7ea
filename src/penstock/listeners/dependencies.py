"""What handlers are given besides their events: things that the app provides, made when they are asked for."""

import asyncio
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penstock.errors import ConfigurationError, UnknownDependencyError
from penstock.store.work import asked_types

__all__ = ["Dependencies", "Factory", "named", "parameters_of"]

Factory: TypeAlias = Callable[..., Any]
"""Makes a dependency: a function, coroutine function, or (async) generator function that yields it and cleans up."""


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
    _outer: "Dependencies | None" = None

    def scope(self, values: Mapping[type, Callable[[], Any]]) -> "Dependencies":
        """These, and within them some that are there for one piece of work only, made by functions of that."""
        inner = Dependencies(_outer=self)
        for type_, factory in values.items():
            inner.provide(type_, factory, shared=False)
        return inner

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
        known = type_ in self._providers or type_ in self._overrides
        return known or (self._outer is not None and self._outer.knows(type_))

    def needs_of(
        self, function: Callable[..., Any], name: str, *, later: frozenset[object] = frozenset()
    ) -> Mapping[str, type]:
        """The parameters of a factory and the types that fill them, those of *later* left out.

        Raises `UnknownDependencyError`.
        """
        needs: dict[str, type] = {}
        for parameter, wanted in parameters_of(function, name):
            if not self.knows(wanted):
                if parameter.default is not inspect.Parameter.empty or wanted in later:
                    continue
                raise UnknownDependencyError(name, parameter.name, named(wanted))
            needs[parameter.name] = typing.cast(type, wanted)
        return needs

    def check(self, type_: type | None = None) -> None:
        """Check that every factory's own needs can be met, and that none needs itself; with *type_*, that of one.

        Without, a session or connection may be missing: it is there only where a transaction of ours is.
        """
        if type_ is not None:
            self._check(type_, ())
            return
        for each in [*self._providers, *self._overrides]:
            self._check(each, (), _transactional())

    def _check(self, type_: type, path: tuple[type, ...], later: frozenset[object] = frozenset()) -> None:
        if type_ in path:
            circle = " -> ".join(named(each) for each in (*path, type_))
            raise ConfigurationError(
                f"dependencies go in a circle: {circle}; break it with a factory that needs less"
            )
        factory = self._provider(type_).factory
        for wanted in self.needs_of(
            factory, getattr(factory, "__name__", repr(factory)), later=later
        ).values():
            self._check(wanted, (*path, type_), later)

    def _provider(self, type_: type) -> _Provider:
        found = self._overrides.get(type_) or self._providers.get(type_)
        if found is not None:
            return found
        if self._outer is None:
            raise KeyError(type_)
        return self._outer._provider(type_)

    async def make(self, type_: type, stack: AsyncExitStack) -> Any:
        """A dependency; what is made for one message is cleaned up by *stack*."""
        provider = self._provider(type_)
        if not provider.shared:
            return await self._call(provider.factory, stack)
        if self._outer is not None:
            return await self._outer.make(type_, stack)  # what is shared is shared by all
        if type_ in self._shared:
            return self._shared[type_]
        if (making := self._making.get(type_)) is None:
            making = self._making[type_] = asyncio.ensure_future(self._call(provider.factory, self._stack))
            making.add_done_callback(lambda _: self._making.pop(type_, None))
        made = self._shared[type_] = await asyncio.shield(making)
        return made

    def value_of(self, type_: type) -> Any:
        """A thing that was given as it is, by `provide_value`."""
        return self._provider(type_).factory()

    async def make_shared(self, types: Iterable[object]) -> None:
        """Make now, on this event loop, what is shared of *types* and of all that their factories need."""
        for type_ in types:
            if not isinstance(type_, type) or not self.knows(type_):
                continue
            provider = self._provider(type_)
            if provider.shared:
                await self.make(type_, self._stack)
            else:
                factory = provider.factory
                shown = getattr(factory, "__name__", repr(factory))
                await self.make_shared(self.needs_of(factory, shown, later=_transactional()).values())

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


def _transactional() -> frozenset[object]:
    """What is there only in a transaction of ours: sessions, connections."""
    return frozenset({*asked_types("sqlite"), *asked_types("postgresql")})


def parameters_of(
    function: Callable[..., Any], name: str, *, skip_self: bool = False
) -> list[tuple[inspect.Parameter, object]]:
    """The parameters of a function with their types. Raises `ConfigurationError` where they cannot be read."""
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


def named(wanted: object) -> str:
    """A type, as errors name it."""
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)
