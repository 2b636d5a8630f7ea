"""Where change events go: into a store, with the change itself; or to a stream, once the change is committed."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from penstock.errors import ConfigurationError
from penstock.models._changes import Change
from penstock.store import EventStore

__all__ = ["Emitter", "Through", "check_through", "emit_committed"]

_log: Final = logging.getLogger("penstock.models")


class _SyncEmitter(Protocol):
    def emit_many(self, events: Iterable[object]) -> object:
        """Write events to their streams."""
        ...


class Emitter(Protocol):
    """The part of `penstock.App` that is used to emit to streams."""

    @property
    def sync(self) -> _SyncEmitter:
        """The same without asyncio."""
        ...

    def emit_many(self, events: Iterable[object]) -> Awaitable[object]:
        """Write events to their streams."""
        ...


Through: TypeAlias = EventStore | Emitter
"""A store: events are part of the transaction that makes the change, and none is lost. An app: they are emitted to
their streams after the commit, and a process that dies in between loses them."""

_running: Final[set["asyncio.Task[None]"]] = set()


def check_through(through: Any) -> None:
    """Raises `ConfigurationError` for what events cannot go through."""
    if not isinstance(through, EventStore) and not (
        hasattr(through, "emit_many") and hasattr(through, "sync")
    ):
        raise ConfigurationError(
            f"change events cannot go through {through!r}; give a store, app.store(), or the app for its streams"
        )


def emit_committed(emitter: Emitter, changes: Sequence[Change]) -> None:
    """Emit what is committed. Never raises: the commit has been, so a failure is logged with what is lost by it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            emitter.sync.emit_many(changes)
        except Exception:  # noqa: BLE001  whoever commits must not take its commit for failed
            _lost(changes)
        return
    # Nobody can wait here; the loop sees to it.
    task = asyncio.get_running_loop().create_task(emit_awaited(emitter, changes))
    _running.add(task)
    task.add_done_callback(_running.discard)


async def emit_awaited(emitter: Emitter, changes: Sequence[Change]) -> None:
    """The same for whoever can wait."""
    try:
        await emitter.emit_many(changes)
    except Exception:  # noqa: BLE001  as above
        _lost(changes)


def _lost(changes: Sequence[Change]) -> None:
    names = ", ".join(sorted({type(change).__name__ for change in changes}))
    _log.exception(
        "%d change events are committed and could not be emitted (%s); "
        "let them go through a store where none may be lost",
        len(changes),
        names,
    )
