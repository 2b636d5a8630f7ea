"""Where declarations are kept, and routers, which carry them from a module of the user's into an app."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, Unpack

from penstock.errors import ConfigurationError
from penstock.listeners.groups import Group, ListenerOptions, Middleware
from penstock.listeners.settings import GroupOptions, GroupSettings, changed_settings

__all__ = ["Registry", "Router"]

F = TypeVar("F", bound=Callable[..., Any])


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
                name,
                changed_settings(GroupSettings(), name, settings),
                streams=streams,
                broadcast=broadcast,
                handlers=handlers,
            )
            return known
        if settings:
            if known.listeners or known.settings != GroupSettings():
                raise ConfigurationError(
                    f"group {name!r} is declared twice with settings; declare it once, before its listeners"
                )
            known.declared_streams = tuple(settings.pop("streams", known.declared_streams))
            known.settings = changed_settings(GroupSettings(), name, settings)
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

    def stream_groups(self) -> Iterator[tuple[str, str]]:
        """Streams that are known by name, each with every consumer group that reads it, in pairs."""
        for group in self:
            if not group.broadcast:
                yield from ((stream, group.name) for stream in group.named_streams)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups.values())


class Router:
    """Declares groups and listeners; `penstock.Router` is this, and declares everything else as well."""

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
