"""What penstock tells about itself: hooks that cost nothing until someone listens.

Hooks are called per batch wherever there is one, never awaited, and must not raise; one that does is logged once and
the work goes on. Nothing is logged per message.
"""

import functools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from penstock.errors import StoreRefusedError, StoreUnavailableError

__all__ = ["LOGGER", "ErrorType", "Observer", "error_type", "failure_facts", "guarded"]

LOGGER: Final = logging.getLogger("penstock")
"""The one logger (children carry the part's name); penstock never configures logging."""

ErrorType: TypeAlias = Literal["database_error", "general_error"]
"""Where to look first when something failed."""


class Observer:
    """Subclass it, override what you want to know, give it to the app as ``observer=``. These hooks do nothing."""

    def published(self, stream: str, count: int, seconds: float) -> None:
        """*count* events were written in one call that took *seconds*."""

    def delivered(self, group: str, stream: str, count: int) -> None:
        """*count* entries came in with one read."""

    def acknowledged(self, group: str, stream: str, count: int) -> None:
        """*count* entries were settled as handled."""

    def failed(self, group: str, stream: str, listener: str, error: BaseException, attempt: int) -> None:
        """A listener failed on run number *attempt*; its record is written."""

    def lost(self, group: str, stream: str, count: int) -> None:
        """*count* entries were no longer ours when we came to settle them; others have them or had them."""

    def unhandled(self, group: str, stream: str, name: str) -> None:
        """An event that no listener of the group handles was met; the group's policy was applied."""

    def reconnecting(self, what: str, attempt: int, delay: timedelta, cause: BaseException) -> None:
        """The server is away; the next try comes after *delay*."""

    def reconnected(self, what: str) -> None:
        """The server is back."""


class _Guarded(Observer):
    """Passes every hook on to an observer, and keeps what that raises to itself."""

    def __init__(self, observer: Observer) -> None:
        for hook in _HOOKS:
            setattr(self, hook, self._keeping(hook, getattr(observer, hook)))
        self._told: set[str] = set()

    def _keeping(self, hook: str, call: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(call)
        def pass_on(*facts: Any, **named: Any) -> None:
            try:
                call(*facts, **named)
            except Exception:
                if hook not in self._told:
                    self._told.add(hook)
                    LOGGER.exception(
                        "the observer's %s() raised; the work goes on, and this is said once", hook
                    )

        return pass_on


_HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))


def guarded(observer: Observer | None) -> Observer | None:
    """An observer that tells *observer* everything and never raises; ``None`` for none."""
    return observer if observer is None or isinstance(observer, _Guarded) else _Guarded(observer)


_DATABASE_ERRORS: Final = frozenset({"DatabaseError", "InterfaceError", "DBAPIError", "SQLAlchemyError"})
"""The names of the base classes that PEP 249 gives to the errors of a driver, and SQLAlchemy's."""


# -- the form of a failure ------------------------------------------------------------------------------------------


def failure_facts(
    operation: str,
    *,
    stream: str,
    event_name: str,
    error: BaseException | None,
    error_class: str | None = None,
) -> dict[str, str]:
    """What every log record of a failure carries, for ``extra=``; whoever logs adds what is its own.

    *operation* is what was being done (``handle``, ``project``, ``relay``), `error_class` the full name of the error's
    class unless given, `error_type` is ``database_error`` or ``general_error``: whether to look at a database first.
    """
    return {
        "operation": operation,
        "stream": stream,
        "event_name": event_name,
        "error_class": error_class if error_class is not None else _class_name(error),
        "error_type": error_type(error),
    }


def _class_name(error: BaseException | None) -> str:
    if error is None:
        return ""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_type(error: BaseException | None) -> ErrorType:
    """Whether a database is at fault, or what the error was raised from is a database's."""
    while error is not None:
        if isinstance(error, StoreUnavailableError | StoreRefusedError) or any(
            base.__name__ in _DATABASE_ERRORS for base in type(error).__mro__
        ):
            return "database_error"
        error = error.__cause__
    return "general_error"
