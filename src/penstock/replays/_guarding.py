"""Pages of a copy that cannot touch anything else: what is the same for every database.

A handler writes a copy because its page's connection leads there. One that passes by it (an engine of its own, a
connection that it opens) would write the live read model, so while a page of a copy is handled, its thread may use
nothing else. A dialect adds its own `Fence`.

What is seen: SQLAlchemy in any engine, and connections that Python's ``sqlite3`` opens. Other threads are not watched,
nor what other drivers do (``psycopg``, over connections of a handler's own).
"""

import functools
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from penstock.errors import IsolationError, ReplayError
from penstock.projections.abc import LIVE, Handlers, Page
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection
from penstock.store.work import is_lent

__all__ = ["Fence", "GuardedHandlers", "causes", "name_of"]

T = TypeVar("T")

_REMEDY: Final = (
    "have it write by what it is given for the page (Session, Connection, Rows), and by nothing else"
)


class Fence(Protocol):
    """What keeps the pages of one copy inside, on one dialect."""

    @property
    def files(self) -> frozenset[str]:
        """Real paths of database files that nobody may connect to meanwhile."""
        ...

    def meant(self, projection: str, failure: BaseException) -> IsolationError | None:
        """The error to raise for one that a handler raised, where that is the database's refusal to let it out."""
        ...

    def check(self, projection: str, connection: Connection) -> None:
        """Look at the transaction before it is committed. Raises `IsolationError`."""
        ...


class GuardedHandlers:
    """A projection's handlers within a `Fence`: a page that leaves it raises `IsolationError`, and is rolled back."""

    def __init__(self, handlers: Handlers, fence: Fence) -> None:
        _install()
        self._handlers, self._fence = handlers, fence
        self.projection = name_of(handlers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handlers, name)

    @property
    def names(self) -> frozenset[str] | None:
        """The event names that have a handler."""
        return self._handlers.names

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """Handle one page, inside the fence."""
        watch = _Watch(self.projection, self._fence)
        page = watch.run(
            lambda: self._handlers.begin(connection, state=state, generation=generation),
        )
        return _GuardedPage(page, watch, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """A copy is never emptied by the handlers, which know the live places. Raises `ReplayError`."""
        raise ReplayError(
            f"a copy of projection {self.projection!r} cannot be reset alone; start its replay from zero"
        )

    def prepare(self, connection: Connection) -> None:
        """See to it that the read model is there."""
        watch = _Watch(self.projection, self._fence)
        watch.run(lambda: self._handlers.prepare(connection))
        self._fence.check(self.projection, connection)


class _GuardedPage:
    """One page inside the fence."""

    def __init__(self, page: Page, watch: "_Watch", connection: Connection) -> None:
        self._page, self._watch, self._connection = page, watch, connection
        self._handle = page.handle

    def handle(self, event: StoredEvent) -> None:
        """Run the handlers."""
        # As `_Watch.run`, of which a call for each event would be a tenth of the time that it takes.
        before, _here.watch = getattr(_here, "watch", None), self._watch
        try:
            self._handle(event)
        except Exception as failure:
            if (meant := self._watch.meant(failure)) is not None:
                raise meant from failure
            raise
        finally:
            _here.watch = before
        if self._watch.caught is not None:
            raise self._watch.caught

    def finish(self) -> bytes | None:
        """Write what was held back; then the transaction is looked at."""
        state = self._watch.run(self._page.finish)
        self._watch.fence.check(self._watch.projection, self._connection)
        return state

    def discard(self) -> None:
        """The transaction was rolled back."""
        self._page.discard()

    def committed(self) -> None:
        """The transaction was committed."""
        self._page.committed()


def name_of(handlers: Handlers) -> str:
    """The name of the projection that handlers are of, as far as they tell."""
    return str(getattr(handlers, "projection", "") or type(handlers).__name__)


def causes(failure: BaseException) -> "list[BaseException]":
    """An error, and what it was raised for, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = failure
    while current is not None and current not in found:
        found.append(current)
        original: Any = getattr(current, "orig", None)
        current = (
            original if isinstance(original, BaseException) else current.__cause__ or current.__context__
        )
    return found


# -- the watch over a thread --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Watch:
    """Which page this thread handles, and what it was caught at, should the handler have swallowed the error."""

    projection: str
    fence: Fence
    caught: IsolationError | None = None

    def run(self, call: Callable[..., T], *arguments: object) -> T:
        """What *call* returns, while this thread is watched. Raises `IsolationError`, and what it raises."""
        before = getattr(_here, "watch", None)
        _here.watch = self
        try:
            outcome = call(*arguments)
        except Exception as failure:
            if (meant := self.meant(failure)) is not None:
                raise meant from failure
            raise
        finally:
            _here.watch = before
        if self.caught is not None:
            raise self.caught
        return outcome

    def meant(self, failure: Exception) -> IsolationError | None:
        """What is raised in place of an error that came out of a page, if that is something else."""
        if isinstance(failure, IsolationError):
            return None
        return self.caught or self.fence.meant(self.projection, failure)

    def refuse(self, what: str) -> IsolationError:
        """The error for something that this thread may not do now."""
        self.caught = IsolationError(self.projection, what=what, remedy=_REMEDY)
        return self.caught


_here = threading.local()


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse new connections to the files of the live read model (``sqlite3.connect`` raises this audit event)."""
    if event != "sqlite3.connect":
        return
    watch: _Watch | None = getattr(_here, "watch", None)
    if watch is not None and _path(arguments[0]) in watch.fence.files:
        raise watch.refuse("opened a connection of its own to the live database")


def _path(database: object) -> str:
    """The real path of what ``sqlite3.connect`` was given: a path, or a URI."""
    if not isinstance(database, str | bytes | os.PathLike):
        return ""
    text: str = os.fsdecode(cast("str", database))
    if text.startswith("file:"):
        text = unquote(urlsplit(text).path)
    return os.path.realpath(text) if text else ""


def _on_statement(connection: Any, *_: Any) -> None:
    """Refuse statements by SQLAlchemy that are not on the connection of the page."""
    watch: _Watch | None = getattr(_here, "watch", None)
    if watch is not None and not is_lent(connection.connection.dbapi_connection):
        raise watch.refuse(f"used another database engine ({connection.engine.url!r})")


@functools.cache
def _install() -> None:
    """Begin to look, once in a process; an audit hook stays for good. It does nothing unless a page is watched."""
    sys.addaudithook(_on_audit)
    try:
        from sqlalchemy import Engine, event
    except ImportError:
        return
    event.listen(Engine, "before_cursor_execute", _on_statement)
