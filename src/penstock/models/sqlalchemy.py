"""Change events of SQLAlchemy's models: ``class Customer(ChangeEvents, Base)``, and ``emit_changes(engine, store)``.

What the unit of work writes is seen when it does. What goes past it is not: ``session.execute(update(...))``, the
``bulk_`` methods, triggers and cascades of the database, rows of association tables. `change` makes events of those.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Column, ColumnElement, Connection, Engine, TypeDecorator, event, inspect, select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction, object_session
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import await_only

from penstock.errors import ConfigurationError
from penstock.models._changes import (
    Change,
    ModelEvents,
    Tracked,
    change,
    check_excluded,
    events_of,
    is_switched_off,
    without_change_events,
)
from penstock.models._through import Emitter, Through, check_through, emit_awaited, emit_committed
from penstock.store import EventStore

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = [
    "Change",
    "ChangeEvents",
    "ModelEvents",
    "change",
    "emit_changes",
    "events_of",
    "without_change_events",
]

_FLUSHED: Final = "penstock.changes"
"""In a session's `info`: what the flush at hand has written so far."""
_COMMITTING: Final = "penstock.changes to emit"
"""In a session's `info`, by transaction: what is emitted once that has been committed."""

_routes: "WeakKeyDictionary[Dialect, Through]" = WeakKeyDictionary()
"""By the dialect of an engine: that one is the same for every face of it (`Engine.execution_options`)."""
_former: "WeakKeyDictionary[InstanceState[Any], dict[str, Any]]" = WeakKeyDictionary()
"""What was there, from just before a row is written to just after."""


class ChangeEvents(Tracked):
    """A mixin for declarative models: each row that is created, updated or deleted becomes an event.

    Their names begin with ``__event_base__``, or the name of the table: ``customers.updated``. Fields in
    ``__event_exclude__`` stay out of them. `emits_changes` and `event_additional` may be overridden.
    """

    @classmethod
    def default_event_base(cls) -> str:
        """The name of the table."""
        mapper: Any = inspect(cls)
        return str(mapper.local_table.name)


def emit_changes(engine: "Engine | AsyncEngine", through: Through) -> None:
    """Have the changes of all `ChangeEvents` models that are written over *engine* go through a store, or an app.

    Through a store, ``app.store()``, they are part of the transaction that makes the change; the store is in the
    database of *engine*. Through an app they are emitted to their streams after the commit.

    Raises:
        ConfigurationError: *through* is neither.
    """
    check_through(through)
    _routes[engine.dialect] = through


# -- what changed ---------------------------------------------------------------------------------------------------


@event.listens_for(ChangeEvents, "before_update", propagate=True)
def _before_update(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> None:
    if is_switched_off(thing):
        return
    state = _state(thing)
    fields = _fields(mapper)
    if not any(state.attrs[name].history.has_changes() for name in fields):
        return
    _route(connection, thing)
    _former[state] = _committed(mapper, connection, state, _may_change(mapper, state, fields))


@event.listens_for(ChangeEvents, "before_delete", propagate=True)
def _before_delete(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> None:
    if not is_switched_off(thing):
        _route(connection, thing)
        state = _state(thing)
        _former[state] = _committed(mapper, connection, state, _fields(mapper))


@event.listens_for(ChangeEvents, "after_insert", propagate=True)
def _after_insert(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> None:
    if not is_switched_off(thing):
        _route(connection, thing)
        after = _inserted(mapper, connection, thing)
        _note(
            mapper,
            connection,
            thing,
            change(type(thing), "created", after=after, **_said(mapper, thing, after)),
        )


@event.listens_for(ChangeEvents, "after_update", propagate=True)
def _after_update(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> None:
    before = _former.pop(_state(thing), None)
    if before is None or is_switched_off(thing):
        return
    after = _present(mapper, connection, thing, before)
    columns = mapper.columns
    changed = [
        name
        for name, value in before.items()
        if name not in type(thing).__event_exclude__
        and not columns[name].type.compare_values(value, after[name])
    ]
    if changed:
        _note(
            mapper,
            connection,
            thing,
            change(
                type(thing),
                "updated",
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
                **_said(mapper, thing, after),
            ),
        )


@event.listens_for(ChangeEvents, "after_delete", propagate=True)
def _after_delete(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> None:
    before = _former.pop(_state(thing), None)
    if before is not None:
        _note(
            mapper,
            connection,
            thing,
            change(type(thing), "deleted", before=before, **_said(mapper, thing, before)),
        )


def _state(thing: ChangeEvents) -> InstanceState[Any]:
    return cast("InstanceState[Any]", inspect(thing))


def _fields(mapper: Mapper[Any]) -> list[str]:
    """The attributes of a model that are columns of its tables, in their order."""
    names = [each.key for each in mapper.column_attrs if each.key in mapper.columns]
    check_excluded(mapper.class_, names)
    return names


def _may_change(mapper: Mapper[Any], state: InstanceState[Any], fields: Iterable[str]) -> list[str]:
    """The fields that an update will set: by whoever changed them, or by what their columns do on every update."""
    columns = mapper.columns
    return [
        name
        for name in fields
        if state.attrs[name].history.has_changes()
        or columns[name].onupdate is not None
        or columns[name].server_onupdate is not None
    ]


def _committed(
    mapper: Mapper[Any], connection: Connection, state: InstanceState[Any], fields: Iterable[str]
) -> dict[str, Any]:
    """What is in the row: as the session knows it, else as the database says."""
    found: dict[str, Any] = {}
    for name in fields:
        history = state.attrs[name].history
        known = history.deleted or history.unchanged
        found[name] = known[0] if known else _UNKNOWN
    assert state.key is not None
    return _completed(mapper, connection, state.key[1], found)


def _present(
    mapper: Mapper[Any], connection: Connection, thing: ChangeEvents, fields: Iterable[str]
) -> dict[str, Any]:
    """What is in the row by now; what the database has made of it is asked for."""
    loaded = _state(thing).dict
    found = {name: loaded.get(name, _UNKNOWN) for name in fields}
    for name, value in found.items():
        if isinstance(value, ClauseElement):
            found[name] = _UNKNOWN
    return _completed(mapper, connection, mapper.primary_key_from_instance(thing), found)


def _inserted(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents) -> dict[str, Any]:
    """What is in a row that was made just now. What nobody has set, not even the database, is null."""
    fields = _fields(mapper)
    loaded = _state(thing).dict
    unset = [name for name in fields if name not in loaded and _is_null_unless_set(mapper.columns[name])]
    found = _present(mapper, connection, thing, [name for name in fields if name not in unset])
    return {name: found.get(name) for name in fields}


def _is_null_unless_set(column: ColumnElement[Any]) -> bool:
    return (
        isinstance(column, Column)
        and column.server_default is None
        and column.default is None
        and not column.primary_key
        and not isinstance(column.type, TypeDecorator)
    )


_UNKNOWN: Final = object()


def _completed(
    mapper: Mapper[Any], connection: Connection, identity: Sequence[Any], found: dict[str, Any]
) -> dict[str, Any]:
    unknown = [name for name, value in found.items() if value is _UNKNOWN]
    if unknown:
        query = select(*(mapper.columns[name] for name in unknown)).select_from(mapper.persist_selectable)
        for column, value in zip(mapper.primary_key, identity, strict=True):
            query = query.where(column == value)
        row = connection.execute(query).one()
        found.update(zip(unknown, row, strict=True))
    return found


def _said(mapper: Mapper[Any], thing: ChangeEvents, known: Mapping[str, Any]) -> dict[str, Any]:
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    values = mapper.primary_key_from_instance(thing)
    key = {name: known.get(name, value) for name, value in zip(names, values, strict=True)}
    return {"key": key, "additional": thing.event_additional()}


# -- where it goes --------------------------------------------------------------------------------------------------


def _route(connection: Connection, thing: ChangeEvents) -> Through:
    through = _routes.get(connection.dialect)
    if through is None:
        raise ConfigurationError(
            f"changes of {type(thing).__qualname__} become events, and nobody said where those go: call "
            "emit_changes(engine, app.store()) for this engine, or write them within without_change_events()"
        )
    return through


def _note(mapper: Mapper[Any], connection: Connection, thing: ChangeEvents, made: Change) -> None:
    session = object_session(thing)
    assert session is not None
    session.info.setdefault(_FLUSHED, []).append((connection, _route(connection, thing), made))


@event.listens_for(Session, "before_flush")
def _before_flush(session: Session, *_: object) -> None:
    session.info.pop(_FLUSHED, None)  # of a flush that failed


@event.listens_for(Session, "after_flush")
def _after_flush(session: Session, _: object) -> None:
    noted: list[tuple[Connection, Through, Change]] = session.info.pop(_FLUSHED, [])
    stored: dict[Connection, tuple[EventStore, list[Change]]] = {}
    for connection, through, made in noted:
        if isinstance(through, EventStore):
            stored.setdefault(connection, (through, []))[1].append(made)
        else:
            within = session.get_nested_transaction() or session.get_transaction()
            session.info.setdefault(_COMMITTING, {}).setdefault(within, []).append((through, made))
    for connection, (store, changes) in stored.items():
        store.append(changes, within=connection)


@event.listens_for(Session, "after_transaction_end")
def _ended(session: Session, transaction: SessionTransaction) -> None:
    # What was committed is gone from here; what is left was rolled back.
    waiting = session.info.get(_COMMITTING)
    if waiting is not None:
        waiting.pop(transaction, None)


@event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    if not session.info.get(_COMMITTING):
        return
    by_transaction = session.info[_COMMITTING]
    savepoint = session.get_nested_transaction()
    if savepoint is not None:
        by_transaction.setdefault(_outside(savepoint), []).extend(by_transaction.pop(savepoint, []))
        return
    waiting: list[tuple[Emitter, Change]] = by_transaction.pop(session.get_transaction(), [])
    by_emitter: dict[int, tuple[Emitter, list[Change]]] = {}
    for emitter, made in waiting:
        by_emitter.setdefault(id(emitter), (emitter, []))[1].append(made)
    for emitter, changes in by_emitter.values():
        try:
            await_only(emit_awaited(emitter, changes))
        except (
            MissingGreenlet,
            ImportError,
            ValueError,
        ):  # not within an asynchronous session, or never in one
            emit_committed(emitter, changes)


def _outside(savepoint: SessionTransaction) -> SessionTransaction:
    """The savepoint or transaction that *savepoint* is in, past what a flush has in between."""
    outer = savepoint.parent
    assert outer is not None
    while outer.parent is not None and not outer.nested:
        outer = outer.parent
    return outer
