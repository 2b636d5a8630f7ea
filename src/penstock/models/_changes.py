"""What a change of a model is as an event, whichever library the model is of."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from types import new_class
from typing import Any, ClassVar, Final, Literal, NamedTuple, cast
from weakref import WeakKeyDictionary

import msgspec

from penstock.codec import JSON
from penstock.errors import ConfigurationError, EncodeError
from penstock.event import Event

__all__ = [
    "Change",
    "ModelEvents",
    "Tracked",
    "change",
    "check_excluded",
    "events_of",
    "is_switched_off",
    "without_change_events",
]


class Change(Event):
    """A row of a model was created, updated or deleted; which of them its name says.

    Values are plain JSON: decimals, times and UUIDs as texts, bytes in Base64. Fields have the names of the model's
    attributes.
    """

    key: dict[str, Any]
    """The primary key, by field."""
    fields: list[str]
    """Which fields changed, in the order of the model: all of them when it was created or deleted."""
    before: dict[str, Any]
    """What they were: each is null when it was created."""
    after: dict[str, Any]
    """What they are: each is null when it was deleted."""
    additional: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the model's `event_additional` says."""


class ModelEvents(NamedTuple):
    """The event classes of one model, for listeners and projections: ``@app.listener(events_of(Customer).updated)``."""

    created: type[Change]
    updated: type[Change]
    deleted: type[Change]


class Tracked:
    """What the mixins of both libraries have in common: what a model says about its events."""

    __event_base__: ClassVar[str | None] = None
    """What the names of its events begin with; else its table's name (SQLAlchemy), or its model's (Django)."""
    __event_exclude__: ClassVar[Collection[str]] = ()
    """Fields that never get into an event. A change of these alone is none."""

    def emits_changes(self) -> bool:
        """Whether changes of this one become events; override it to say no."""
        return True

    def event_additional(self) -> Mapping[str, object]:
        """What its events carry beside fields; override it. Called when the change is being written."""
        return {}

    @classmethod
    def default_event_base(cls) -> str:
        """What the names of its events begin with unless ``__event_base__`` says otherwise."""
        return cls.__name__.lower()


_OFF: Final[ContextVar[tuple[type, ...]]] = ContextVar("penstock_changes_off", default=())

_events: "WeakKeyDictionary[type, ModelEvents]" = WeakKeyDictionary()


@contextlib.contextmanager
def without_change_events(*models: type) -> Iterator[None]:
    """Within the block, in this task or thread, changes of *models* (of all, if none is given) become no events.

    What counts is when a change is written to the database: flush a session before the block ends.
    """
    token = _OFF.set((*_OFF.get(), *(models or (object,))))
    try:
        yield
    finally:
        _OFF.reset(token)


def is_switched_off(thing: Tracked) -> bool:
    """Whether changes of *thing* become no events at this moment."""
    return isinstance(thing, _OFF.get()) or not thing.emits_changes()


def events_of(model: type[Tracked]) -> ModelEvents:
    """The event classes of a model: ``created``, ``updated``, ``deleted``."""
    found = _events.get(model)
    if found is None:
        base = model.__event_base__ or model.default_event_base()
        found = _events[model] = ModelEvents(*(_declared(model, base, what) for what in ModelEvents._fields))
    return found


def _declared(model: type, base: str, what: str) -> type[Change]:
    said = {"name": f"{base}.{what}", "key": _key_text, "category": base}
    made = new_class(f"{model.__name__}{what.capitalize()}", (Change,), said, _in_module(model))
    return cast("type[Change]", made)


def _in_module(model: type) -> Any:
    def fill(namespace: dict[str, Any]) -> None:
        namespace["__module__"] = model.__module__
        namespace["__doc__"] = f"A change of a {model.__qualname__}."

    return fill


def _key_text(change: Change) -> str:
    return ":".join("" if part is None else str(part) for part in change.key.values())


def change(
    model: type[Tracked],
    what: Literal["created", "updated", "deleted"],
    *,
    key: Mapping[str, object],
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    additional: Mapping[str, object] | None = None,
) -> Change:
    """The event of a change, for changes that nobody sees.

    ``change(Order, "updated", key={"id": 7}, before={"paid": False}, after={"paid": True})``; *before* and *after* are
    values by field, *key* is the primary key. Fields that the model excludes are left out. Append it (``within=`` the
    transaction of the change), or emit it.

    Raises:
        EncodeError: A value is of a kind that JSON does not have; it names the field.
    """
    kept = [name for name in {**(before or {}), **(after or {})} if name not in model.__event_exclude__]

    def values(given: Mapping[str, object] | None, names: Collection[str] | None = None) -> dict[str, Any]:
        found = given or {}
        return {
            name: _plain(model, name, found[name])
            for name in (found if names is None else names)
            if name in found
        }

    nothing = dict.fromkeys(kept)
    event: type[Change] = getattr(events_of(model), what)
    return event(
        key=values(key),
        fields=kept,
        before=nothing if what == "created" else values(before, kept),
        after=nothing if what == "deleted" else values(after, kept),
        additional=values(additional),
    )


def _plain(model: type, field: str, value: object) -> Any:
    """A value as plain JSON, and apart from the original."""
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError, RecursionError) as failure:
        raise EncodeError(
            JSON.content_type,
            f"field {field!r} of {model.__qualname__} is a {type(value).__qualname__}, which it has no form for; "
            "leave the field out with __event_exclude__, and say what is needed of it in event_additional()",
        ) from failure


def check_excluded(model: type[Tracked], known: Collection[str]) -> None:
    """Raises `ConfigurationError` for a field that is to be left out and does not exist."""
    for name in model.__event_exclude__:
        if name not in known:
            raise ConfigurationError(
                f"{model.__qualname__}: __event_exclude__ names {name!r}, which is no field; "
                f"its fields are {', '.join(known)}"
            )
