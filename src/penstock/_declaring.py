"""`Router`: everything by which an app is told what it runs, away from the app; the app itself is one."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar, Unpack, overload

from penstock.errors import ConfigurationError
from penstock.listeners._recurring import Make, Recurring, declare_recurring
from penstock.listeners._rules import Cron, Every, Missed, Rule
from penstock.listeners.registry import Router as ListenerRouter
from penstock.projections import Projection, ProjectionOptions
from penstock.relays import Relay, RelayOptions

__all__ = ["Router"]

M = TypeVar("M", bound=Make)


class Router(ListenerRouter):
    """Declares groups and listeners, projections, relays, and what recurs, away from the app.

    ``app.include(router)`` takes them over.
    """

    def __init__(self, *, default_group: str | None = None) -> None:
        super().__init__(default_group=default_group)
        self._declared_projections: dict[str, Projection] = {}
        self._declared_relays: dict[str, Relay] = {}
        self._recurring: dict[str, Recurring] = {}

    def include(self, router: ListenerRouter) -> None:
        """Take over everything that a router declares, middleware included.

        Raises:
            ConfigurationError: Something of one name is declared in both.
        """
        if isinstance(router, Router):
            for what, name in self._doubled(router):
                raise ConfigurationError(
                    f"{what} {name!r} is declared in two places, and what is known of it is kept under its name; "
                    "give one of them another name, or include its router once"
                )
            for name in self._declared_projections.keys() & router._declared_relays.keys():
                raise _of_two_kinds(name)
            for name in self._declared_relays.keys() & router._declared_projections.keys():
                raise _of_two_kinds(name)
        self.registry.include(router)
        if isinstance(router, Router):
            for projection in router._declared_projections.values():
                self._keep(projection)
            self._declared_relays |= router._declared_relays
            self._recurring |= router._recurring

    def _doubled(self, router: "Router") -> Iterator[tuple[str, str]]:
        kinds: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
            ("projection", self._declared_projections, router._declared_projections),
            ("relay", self._declared_relays, router._declared_relays),
            ("recurring", self._recurring, router._recurring),
        ]
        for what, ours, theirs in kinds:
            yield from ((what, name) for name in theirs if name in ours)

    # -- projections and relays ---------------------------------------------------------------------------------

    def projection(self, name: str, **options: Unpack[ProjectionOptions]) -> Projection:
        """Declare a projection; the keywords are those of `penstock.projections.Projection`.

        Raises:
            ConfigurationError: Something about it cannot be, or there is one of that name.
        """
        declared = Projection(name, **options)
        if name in self._declared_projections:
            raise ConfigurationError(
                f"projection {name!r} is declared twice; each has a name of its own, which its position is kept under"
            )
        if name in self._declared_relays:
            raise _of_two_kinds(name)
        self._keep(declared)
        return declared

    def _keep(self, projection: Projection) -> None:
        self._declared_projections[projection.name] = projection

    def relay(self, name: str, **options: Unpack[RelayOptions]) -> Relay:
        """Move on what is stored: ``app.relay("orders", events=[OrderPlaced])`` publishes what was committed.

        *source* is a store (``"local"`` unless said), or ``"stream:NAME"``; *target* is ``"streams"`` (unless said), or
        a store. *events* are classes or names (all, unless said), *streams* and *categories* choose event streams of
        the source. *where* is a function of the stored event that says whether it goes, *rename* a table of names or a
        function that gives the new one, *to* the stream that all go into, or a function of the event. Left out, an
        event goes into the stream that emitting it would choose; between stores, into the event stream that it is in;
        out of a stream, into that of its category and key. Event ids, times, keys and all else stay.

        *mode*, *on_failure*, *retry* and *page* are those of a projection. *keep*: how long the source store keeps what
        was relayed (for good, unless said). *archive*: out of a stream, what was archived of it goes first.

        Raises:
            ConfigurationError: Something about it cannot be, or there is one of that name.
        """
        if name in self._declared_relays:
            raise ConfigurationError(
                f"relay {name!r} is declared twice; each has a name of its own, which its position is kept under"
            )
        if name in self._declared_projections:
            raise _of_two_kinds(name)
        declared = self._declared_relays[name] = Relay(name, **options)
        return declared

    # -- what recurs --------------------------------------------------------------------------------------------

    @overload
    def every(
        self,
        interval: timedelta | str,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M]: ...
    @overload
    def every(
        self,
        interval: timedelta | str,
        what: object,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> None: ...
    def every(
        self,
        interval: timedelta | str,
        what: object = None,
        *,
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M] | None:
        """Emit an event every so often: ``app.every("5 min", Tidied())``, or as a decorator of a function.

        The times are counted from 1970-01-01 00:00 UTC, so that every process has the same: every 5 minutes is at :00,
        :05, :10. Of all processes that declare it one emits at each time. The function returns the event, a list of
        events, or ``None``; it may take the time of the run, and several processes may call it for the same one, of
        which one's answer counts, so it should do nothing but make events. Their own time is that of the run.

        *name* (the function's, or the event's, unless given) is what its runs are kept under; keep it stable. *missed*
        says what becomes of runs for which nobody was there: ``"once"`` runs for the last of them, ``"skip"`` for none,
        ``"all"`` for each, up to a hundred. A run is not missed while it is less than a minute late and the next is not
        due. Nothing is missed before a process has first known of it. The events go to one stream, without partitions:
        that of the event, of the class that the function is annotated to return, or *stream*.

        Raises:
            ConfigurationError: The name is taken, or the stream cannot be told.
            MalformedDurationError: *interval* is no duration.
        """
        return self._recur(Every.parse(interval), what, name=name, stream=stream, missed=missed)

    @overload
    def cron(
        self,
        expression: str,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M]: ...
    @overload
    def cron(
        self,
        expression: str,
        what: object,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> None: ...
    def cron(
        self,
        expression: str,
        what: object = None,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        stream: str | None = None,
        missed: Missed = "once",
    ) -> Callable[[M], M] | None:
        """Emit an event when a cron expression says: ``app.cron("0 6 * * *", Opened(), timezone="Europe/Berlin")``.

        Five fields: minute, hour, day of month, month, day of week; or six, with seconds first. Needs the extra
        ``cron``. A time that a day does not have (clocks go forward) is the first minute that it has; one that it has
        twice (they go back) is the first of the two. Expressions whose minute or hour begins with a star go by real
        time instead. Everything else is as for `every`.

        Raises:
            ConfigurationError: The expression or the time zone is none; or as `every`.
            MissingExtraError: The extra is not installed.
        """
        return self._recur(Cron.parse(expression, timezone), what, name=name, stream=stream, missed=missed)

    def _recur(
        self, rule: Rule, what: object, *, name: str | None, stream: str | None, missed: Missed
    ) -> Callable[[M], M] | None:
        def declare(what: object) -> None:
            declared = declare_recurring(self._recurring, rule, what, name=name, stream=stream, missed=missed)
            self._recurring[declared.name] = declared

        def decorate(function: M) -> M:
            declare(function)
            return function

        if what is None:
            return decorate
        declare(what)
        return None


def _of_two_kinds(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"a projection and a relay are both called {name!r}, and the positions of both are kept under their names; "
        "give one of them another"
    )
