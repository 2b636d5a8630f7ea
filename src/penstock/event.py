"""Declaring events: our `Event` struct, or a class of yours under `event`.

A declaration is kept on the class itself, in the attribute ``__penstock__``; there is no registry of names, so an event
class belongs to no app and two classes may read the same name in their own way.
"""

import difflib
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, dataclass_transform, is_typeddict

import msgspec

from penstock.codec import JSON, Codec, codec_for
from penstock.errors import ConfigurationError, DecodeError, EncodeError, UsageError

__all__ = ["Event", "EventType", "Key", "event", "event_type", "is_event", "upcaster"]

C = TypeVar("C", bound=type)
Upcast = Callable[[dict[str, Any]], dict[str, Any]]

Key = str | Callable[[Any], object]
"""What orders and shards an event: a field's name, or a function of the event."""

_DECLARATION: Final = "__penstock__"
_NAME = re.compile(r"[^\s\x00-\x1f{}]+")


@dataclass(slots=True)
class EventType:
    """What a class declares about its events, and how they become bytes and come back."""

    cls: type
    name: str
    version: int
    kind: str
    stream: str
    category: str
    key: Key | None
    codec: Codec
    has_body: bool
    """False for a class without fields: its events have no body at all."""
    upcasters: dict[int, Upcast] = field(default_factory=dict)
    decode_current: Callable[[bytes], Any] = field(init=False)
    """Bytes of the present version and the declared content type to an event: the hot path."""
    _is_pydantic: bool = field(init=False)

    def __post_init__(self) -> None:
        self._is_pydantic = _is_pydantic(self.cls)
        self.decode_current = self._decode_pydantic if self._is_pydantic else _decoder(self.codec, self.cls)

    @property
    def content_type(self) -> str:
        """How its bodies are written."""
        return self.codec.content_type

    def encode(self, event: object) -> bytes | None:
        """The body of an event, ``None`` when it has none. Raises `EncodeError`."""
        if not self.has_body:
            return None
        if self._is_pydantic:
            return self._encode_pydantic(event)
        return self.codec.encode(event)

    def decode(self, data: bytes | None, *, version: int, content_type: str) -> Any:
        """The event in a body of any version up to the present one: older ones are upcast first.

        Raises:
            DecodeError: The bytes do not fit, or the version is newer than this class.
            UnknownContentTypeError: No codec of ours answers to it.
        """
        if data is not None and version == self.version and content_type == self.codec.content_type:
            try:
                return self.decode_current(data)
            except (msgspec.MsgspecError, ValueError, RecursionError) as failure:
                raise DecodeError(content_type, f"{self.name!r}: {failure}") from failure
        return self._decode_other(data, version, content_type)

    def _decode_other(self, data: bytes | None, version: int, content_type: str) -> Any:
        if version > self.version:
            raise DecodeError(
                content_type,
                f"{self.name!r} is of version {version}, and {self.cls.__qualname__} knows versions up to "
                f"{self.version}; deploy the newer class to its readers first",
            )
        if data is None and version == self.version:
            return self._convert({}, content_type)
        codec = codec_for(content_type)
        if version == self.version and not self._is_pydantic:
            return codec.decode(data or b"", self.cls)
        payload = {} if data is None else codec.decode(data)
        return self._convert(self._upcast(payload, version, content_type), content_type)

    def _upcast(self, payload: Any, version: int, content_type: str) -> Any:
        for step in range(version, self.version):
            upcast = self.upcasters.get(step)
            if upcast is None:
                raise DecodeError(
                    content_type,
                    f"{self.name!r} is of version {version} and nothing leads from version {step} to {step + 1}; "
                    f"register it with @upcaster({self.cls.__qualname__}, from_version={step})",
                )
            payload = upcast(payload)
        return payload

    def _convert(self, payload: Any, content_type: str) -> Any:
        try:
            if self._is_pydantic:
                return self.cls.model_validate(payload)  # type: ignore[attr-defined]
            return msgspec.convert(payload, self.cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as failure:
            raise DecodeError(content_type, f"{self.name!r}: {failure}") from failure

    def key_of(self, event: Any) -> str | None:
        """What orders and shards this event. Raises `UsageError` for a key that is no text, number or UUID."""
        key = self.key
        if key is None:
            return None
        if isinstance(key, str):
            value = event[key] if isinstance(event, dict) else getattr(event, key)
        else:
            value = key(event)
        if isinstance(value, str):
            return value
        if isinstance(value, int | uuid.UUID) and not isinstance(value, bool):
            return str(value)
        raise UsageError(f"the key of {self.name!r} is {value!r}; a key is text, a whole number or a UUID")

    def _encode_pydantic(self, event: Any) -> bytes:
        try:
            if self.codec is JSON:
                text: str = event.model_dump_json()
                return text.encode()
            return self.codec.encode(event.model_dump(mode="json"))
        except (ValueError, TypeError) as failure:
            raise EncodeError(self.content_type, str(failure)) from failure

    def _decode_pydantic(self, data: bytes) -> Any:
        if self.codec is JSON:
            return self.cls.model_validate_json(data)  # type: ignore[attr-defined]
        return self.cls.model_validate(self.codec.decode(data))  # type: ignore[attr-defined]


# -- declaring ------------------------------------------------------------------------------------------------------


def event(
    name: str,
    *,
    key: Key | None = None,
    version: int = 1,
    kind: str = "event",
    category: str | None = None,
    stream: str | None = None,
    codec: Codec = JSON,
) -> Callable[[C], C]:
    """Declare a dataclass, attrs class, TypedDict, pydantic model or msgspec struct as an event; it stays what it is.

    Raises:
        ConfigurationError: A name, version or key that cannot work.
    """

    def declare(cls: C) -> C:
        if not isinstance(cls, type):
            raise ConfigurationError(f"@event({name!r}) declares a class, not {cls!r}")
        _declare(cls, name, key, version, kind, category, stream, codec)
        return cls

    return declare


def upcaster(cls: type, *, from_version: int) -> Callable[[Upcast], Upcast]:
    """Register how a payload (plain values) of *from_version* becomes one of the version after it.

    Raises:
        ConfigurationError: The class has no such earlier version, or a function for it already.
    """

    def register(function: Upcast) -> Upcast:
        declared = event_type(cls)
        if not 1 <= from_version < declared.version:
            raise ConfigurationError(
                f"{declared.name!r} is at version {declared.version}; an upcaster starts from 1 to {declared.version - 1}, "
                f"not from {from_version}"
            )
        if from_version in declared.upcasters:
            raise ConfigurationError(f"{declared.name!r} already has an upcaster from version {from_version}")
        declared.upcasters[from_version] = function
        return function

    return register


def event_type(of: object) -> EventType:
    """What a class, or an instance's class, declares. Raises `UsageError` for one that declares nothing."""
    declared = getattr(of, _DECLARATION, None)
    if declared is None:
        cls = of if isinstance(of, type) else type(of)
        if cls is dict:
            raise UsageError(
                "a TypedDict's values are plain dicts and do not know their type; emit them with name=, "
                "or use a dataclass or an Event"
            )
        raise UsageError(
            f"{cls.__qualname__} is not declared as an event; derive it from Event with name=..., "
            f"or put @event('some.name') above it"
        )
    return declared  # type: ignore[no-any-return]


def is_event(of: object) -> bool:
    """Whether a class or instance is declared as an event."""
    return getattr(of, _DECLARATION, None) is not None


def _declare(
    cls: type,
    name: str,
    key: Key | None,
    version: int,
    kind: str,
    category: str | None,
    stream: str | None,
    codec: Codec,
) -> None:
    where = cls.__qualname__
    for what, text in (
        ("name", name),
        ("stream", stream or name),
        ("kind", kind),
        ("category", category or "x"),
    ):
        if not isinstance(text, str) or (what != "stream" and not _NAME.fullmatch(text)) or not text.strip():
            raise ConfigurationError(
                f"{where}: {text!r} cannot be a {what}; use visible characters without blanks or braces, as in 'order.placed'"
            )
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigurationError(f"{where}: version is {version!r}; versions are whole numbers from 1")
    known = _field_names(cls)
    if isinstance(key, str) and key not in known and not hasattr(cls, key):
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"its fields are {', '.join(known) or 'none'}"
        raise ConfigurationError(f"{where}: key {key!r} is no field; {hint}")
    declared = EventType(
        cls,
        name,
        version,
        kind,
        stream or name,
        category or name.rpartition(".")[0] or name,
        key,
        codec,
        bool(known),
    )
    setattr(cls, _DECLARATION, declared)


def _field_names(cls: type) -> list[str]:
    if issubclass(cls, msgspec.Struct):
        return list(cls.__struct_fields__)
    if _is_pydantic(cls):
        return list(cls.model_fields)  # type: ignore[attr-defined]
    if is_typeddict(cls):
        return list(cls.__annotations__)
    found = getattr(cls, "__dataclass_fields__", None)
    if found is not None:
        return list(found)
    attributes = getattr(cls, "__attrs_attrs__", None)
    if attributes is not None:
        return [attribute.name for attribute in attributes]
    raise ConfigurationError(
        f"{cls.__qualname__} is none of dataclass, attrs class, TypedDict, pydantic model, msgspec struct; "
        "make it one (mind the order: @event goes above @dataclass)"
    )


def _is_pydantic(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _decoder(codec: Codec, cls: type) -> Callable[[bytes], Any]:
    if codec is JSON:
        return msgspec.json.Decoder(cls).decode
    return lambda data: codec.decode(data, cls)


class _EventMeta(msgspec.StructMeta):
    """Takes the declaration out of the class keywords and leaves the rest to msgspec."""

    def __new__(
        mcs,
        class_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        name: str | None = None,
        key: Key | None = None,
        version: int = 1,
        kind: str = "event",
        category: str | None = None,
        stream: str | None = None,
        codec: Codec = JSON,
        **options: Any,
    ) -> Any:
        options.setdefault("frozen", True)
        options.setdefault("kw_only", True)
        # A base's declaration is not its subclass's: without a name of its own a class declares nothing.
        namespace = {**namespace, _DECLARATION: None}
        cls: Any = super().__new__(mcs, class_name, bases, namespace, **options)
        if name is not None:
            _declare(cls, name, key, version, kind, category, stream, codec)
        elif (key, version, kind, category, stream, codec) != (None, 1, "event", None, None, JSON):
            raise ConfigurationError(f"{class_name} declares an event without name=; give it one")
        return cls


if TYPE_CHECKING:

    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
    class _TypedEvent:
        """What type checkers see: a frozen, keyword-only dataclass that takes our class keywords."""

        def __init_subclass__(
            cls,
            *,
            name: str = ...,
            key: Key | None = ...,
            version: int = ...,
            kind: str = ...,
            category: str | None = ...,
            stream: str | None = ...,
            codec: Codec = ...,
        ) -> None: ...

    class Event(_TypedEvent):
        """An event: a frozen struct with keyword-only fields, declared by class keywords."""

else:

    class Event(msgspec.Struct, metaclass=_EventMeta):
        """An event: a frozen msgspec struct with keyword-only fields, declared by class keywords.

        ``class OrderPlaced(Event, name="order.placed", key="order_id")``; further ``version=`` (of the body's schema),
        ``kind=`` (``event``, ``notification``, ``command``, or a word of yours), ``category=`` (the name up to its last
        dot unless given), ``stream=`` (the name unless given), ``codec=``. A subclass without ``name=`` is a base for
        others and cannot be emitted.
        """
