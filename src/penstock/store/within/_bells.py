"""Ringing after a commit of SQLAlchemy's.

A session says when it has committed. A connection says only that it is about to; what tells that it has is that it goes
back to its pool, or begins anew. Rollbacks make what waits forgotten.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["ring_after_connection", "ring_after_session"]

_WAITING: Final = "penstock.waiting"
_COMMITTED: Final = "penstock.committed"


def ring_after_session(session: "Session", ring: Callable[[], None]) -> None:
    """Call *ring* when the transaction that *session* is in has been committed."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    if not event.contains(Session, "after_commit", _session_committed):
        event.listen(Session, "after_commit", _session_committed)
        event.listen(Session, "after_transaction_end", _session_ended)
    session.info.setdefault(_WAITING, set()).add(ring)


def _session_committed(session: "Session") -> None:
    # The release of a savepoint is told of as well.
    if _WAITING in session.info and not session.in_nested_transaction():
        _ring(session.info.pop(_WAITING))


def _session_ended(session: "Session", transaction: "SessionTransaction") -> None:
    if transaction.parent is None:
        session.info.pop(_WAITING, None)


def ring_after_connection(connection: "Connection", ring: Callable[[], None]) -> None:
    """Call *ring* when the transaction that *connection* is in has been committed."""
    from sqlalchemy import event

    engine = connection.engine
    if not event.contains(engine, "commit", _about_to_commit):
        event.listen(engine, "checkin", _given_back)
        event.listen(engine, "begin", _begun)
        event.listen(engine, "rollback", _rolled_back)
        event.listen(engine, "commit", _about_to_commit)
    connection.info.setdefault(_WAITING, set()).add(ring)


def _about_to_commit(connection: "Connection") -> None:
    waiting = connection.info.pop(_WAITING, None)
    if waiting:
        connection.info.setdefault(_COMMITTED, set()).update(waiting)


def _rolled_back(connection: "Connection") -> None:
    connection.info.pop(_WAITING, None)


def _begun(connection: "Connection") -> None:
    _ring(connection.info.pop(_COMMITTED, ()))


def _given_back(_: object, record: Any) -> None:
    _ring(record.info.pop(_COMMITTED, ()))


def _ring(bells: Any) -> None:
    for ring in bells:
        ring()
