"""Declaring a class as an event, and finding the declaration again."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from penstock.codec import BYTES, JSON, TEXT, Codec
from penstock.errors import ConfigurationError, UsageError
from penstock.event._bodies import body_of
from penstock.event._type import EventType, Key, Upcast

__all__ = ["DECLARATION", "declaration", "declare", "event", "event_type", "is_event", "nearest", "upcaster"]

C = TypeVar("C", bound=type)

DECLARATION: Final = "__penstock__"
"""The attribute of a class that holds its `EventType`; ``None`` in a base class for events."""


def event(
    name: str,
    *,
    key: Key | None = None,
    version: int = 1,
    kind: str = "event",
    category: str | None = None,
    stream: str | None = None,
    codec: Codec = JSON,
    history: bool = False,
) -> Callable[[C], C]:
    """Declare a dataclass, attrs class, TypedDict, pydantic model or msgspec struct as an event; it stays what it is.

    The words mean what they mean for `Event`.

    Raises:
        ConfigurationError: A name, version, key or codec that cannot work, or a class of another sort.
    """
    if not isinstance(name, str):  # `@event` without parentheses would put a function in the class's place
        raise ConfigurationError("@event takes the event's name: write @event('some.name')")

    def declared(cls: C) -> C:
        declare(cls, name, key, version, kind, category, stream, codec, history)
        return cls

    return declared


def upcaster(cls: type, *, from_version: int) -> Callable[[Upcast], Upcast]:
    """Register how a payload (plain values) of *from_version* becomes one of the version after it.

    Raises:
        ConfigurationError: The class has no such earlier version, or a function for it already.
    """

    def register(function: Upcast) -> Upcast:
        declared = event_type(cls)
        if from_version not in range(1, declared.version):
            raise ConfigurationError(
                f"{declared.name!r} is at version {declared.version}, and an upcaster starts from a version before "
                f"that, not from {from_version!r}; raise version= of {cls.__qualname__} first"
            )
        if from_version in declared.upcasters:
            raise ConfigurationError(f"{declared.name!r} already has an upcaster from version {from_version}")
        declared.upcasters[from_version] = function
        return function

    return register


def event_type(of: object) -> EventType:
    """What a class, or an instance's class, declares. Raises `UsageError` for one that declares nothing."""
    declared = declaration(of)
    if declared is None:
        raise UsageError(_undeclared(of if isinstance(of, type) else type(of)))
    return declared


def is_event(of: object) -> bool:
    """Whether a class, or an instance's class, is declared as an event."""
    return declaration(of) is not None


def declaration(of: Any) -> EventType | None:
    """What a class, or an instance's class, declares; ``None`` for one that declares nothing."""
    declared = getattr(of, "__penstock__", None)
    # A class that inherits from an event without being declared itself would be read back as its base.
    if isinstance(declared, EventType) and (declared.cls is of.__class__ or declared.cls is of):
        return declared
    return None


def _undeclared(cls: type) -> str:
    name = cls.__qualname__
    if cls is dict:
        return (
            "a dict, which is what the values of a TypedDict are, does not know its event; emit it with name=, "
            "or use a dataclass or an Event"
        )
    if vars(cls).get(DECLARATION, cls) is None:
        return f"{name} has no name, which makes it a base of events and no event; declare it with name='some.name'"
    return f"{name} is not declared as an event; derive it from Event with name=, or put @event('some.name') above it"


def declare(
    cls: type,
    name: str,
    key: Key | None = None,
    version: int = 1,
    kind: str = "event",
    category: str | None = None,
    stream: str | None = None,
    codec: Codec = JSON,
    history: bool = False,
) -> None:
    """Keep on *cls* what it declares. Raises `ConfigurationError` for what cannot work."""
    where = getattr(cls, "__qualname__", repr(cls))
    _check_word(where, "name", name)
    stream = name if stream is None else stream
    category = name.rpartition(".")[0] or name if category is None else category
    _check_word(where, "stream", stream, "{}")  # braces mark the part that a cluster hashes
    _check_word(where, "category", category)
    _check_word(where, "kind", kind)
    if not _is_version(version):
        raise ConfigurationError(f"{where}: version is {version!r}; versions are whole numbers from 1")
    if not all(hasattr(codec, part) for part in ("content_type", "encode", "decode")):
        raise ConfigurationError(f"{where}: codec is {codec!r}; give a codec, such as MESSAGEPACK")
    if not inspect.isclass(cls):
        raise ConfigurationError(f"{where} is no class; @event stands above one")
    body = body_of(cls)
    _check_key(cls, key, body.fields)
    if history and key is None:
        raise ConfigurationError(
            f"{where}: a history is of one entity, which the key names; give key= as well as history=True"
        )
    if not body.is_empty and codec in (TEXT, BYTES):
        raise ConfigurationError(f"{where}: {codec.content_type} carries no fields; use JSON or MESSAGEPACK")
    setattr(
        cls, DECLARATION, EventType(cls, name, version, kind, stream, category, key, codec, body, history)
    )


def _check_word(where: str, what: str, text: object, allowed: str = "") -> None:
    refused = set(" {}") - set(allowed)
    if not isinstance(text, str) or not text or not text.isprintable() or refused & set(text):
        raise ConfigurationError(
            f"{where}: {text!r} cannot be a {what}; "
            "use visible characters without blanks or braces, as in 'order.placed'"
        )


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_key(cls: type, key: object, fields: tuple[str, ...]) -> None:
    if key is None or callable(key) or key in fields:
        return
    if isinstance(key, str) and isinstance(inspect.getattr_static(cls, key, None), property):
        return
    hint = nearest(str(key), fields) or f"its fields are {', '.join(fields) or 'none'}"
    raise ConfigurationError(f"{cls.__qualname__}: key {key!r} is no field; {hint}")


def nearest(word: str, known: "tuple[str, ...] | frozenset[str]") -> str | None:
    """A question that names the nearest of the known words, if one is near."""
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else None
