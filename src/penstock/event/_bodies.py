"""How the events of one class are written and read, whatever sort of class it is."""

import dataclasses
import functools
import re
import sys
from collections.abc import Callable
from typing import Any, Protocol, cast, is_typeddict

import msgspec

from penstock.codec import JSON, NATIVE, Codec, reason_of, refuse_not_finite
from penstock.errors import ConfigurationError, EncodeError, PenstockError

__all__ = ["Body", "body_of"]


class Body(Protocol):
    """The bodies of one class of events."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the class's fields."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether its events have nothing to write."""
        ...

    def write(self, event: Any, codec: Codec) -> bytes:
        """The bytes of an event. Raises `EncodeError`."""
        ...

    def read(self, data: bytes, codec: Codec) -> Any:
        """An event from bytes of the present version. Raises `DecodeError`, or what `reason` understands."""
        ...

    def reader(self, codec: Codec) -> Callable[[bytes], Any]:
        """The fastest way to `read`. Raises `TypeError` or `NameError` for a class that cannot be read at all."""
        ...

    def build(self, payload: object, codec: Codec) -> Any:
        """An event from plain values of the present version, which *codec* read. Raises what `reason` understands."""
        ...

    def reason(self, failure: Exception) -> str:
        """Why bytes or values do not fit, in one line."""
        ...


def body_of(cls: Any) -> Body:
    """The bodies of *cls*. Raises `ConfigurationError` for a sort of class that we do not know."""
    # Whoever hands us a model has imported pydantic; we never do.
    if (pydantic := sys.modules.get("pydantic")) is not None and issubclass(cls, pydantic.BaseModel):
        return _ModelBody(cls)
    if issubclass(cls, msgspec.Struct):
        return _PlainBody(cls, cls.__struct_fields__)
    if is_typeddict(cls):
        return _PlainBody(cls, sorted(cls.__required_keys__ | cls.__optional_keys__))
    if dataclasses.is_dataclass(cls):
        return _PlainBody(cast("type", cls), [each.name for each in dataclasses.fields(cls)])
    if hasattr(cls, "__attrs_attrs__"):
        return _PlainBody(cls, [each.name for each in cls.__attrs_attrs__])
    raise ConfigurationError(
        f"{cls.__qualname__} is none of dataclass, attrs class, TypedDict, pydantic model, msgspec struct; "
        "make it one (@event stands above @dataclass)"
    )


class _PlainBody:
    """Structs, dataclasses, attrs classes and TypedDicts: msgspec knows them all."""

    def __init__(self, cls: type, fields: "list[str] | tuple[str, ...]") -> None:
        self._cls: Any = cls
        self.fields = tuple(fields)
        self.is_empty = not fields

    def write(self, event: Any, codec: Codec) -> bytes:
        return codec.encode(event)

    def read(self, data: bytes, codec: Codec) -> Any:
        return codec.decode(data, self._cls)

    def reader(self, codec: Codec) -> Callable[[bytes], Any]:
        fastest: Callable[[bytes], Any] = msgspec.json.Decoder(self._cls).decode
        return fastest if codec is JSON else functools.partial(self.read, codec=codec)

    def build(self, payload: object, codec: Codec) -> Any:
        # The keys of a JSON object are text, whatever the field says.
        return msgspec.convert(payload, self._cls, str_keys=codec is JSON)

    def reason(self, failure: Exception) -> str:
        return reason_of(failure)


_MAY_BE_NOT_FINITE = re.compile(rb"null|NaN|Infinity")
"""What pydantic writes for NaN and infinities, as its models are told (``ser_json_inf_nan``)."""


class _ModelBody:
    """Pydantic models, which write and read themselves, by the aliases of their fields."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.fields: tuple[str, ...] = tuple(model.model_fields)
        takes_more = bool(model.model_computed_fields) or model.model_config.get("extra") == "allow"
        self.is_empty = not self.fields and not takes_more

    def write(self, event: Any, codec: Codec) -> bytes:
        try:
            if codec is not JSON:
                return codec.encode(_plain(event.model_dump(by_alias=True)))
            data: bytes = event.model_dump_json(by_alias=True).encode()
            if _MAY_BE_NOT_FINITE.search(data):
                refuse_not_finite(event.model_dump(mode="json", by_alias=True), data)
            return data
        except (PenstockError, MemoryError):
            raise
        except Exception as failure:
            raise EncodeError(codec.content_type, reason_of(failure)) from failure

    def read(self, data: bytes, codec: Codec) -> Any:
        if codec is JSON:
            return self._model.model_validate_json(data)
        return self._model.model_validate(codec.decode(data))

    def reader(self, codec: Codec) -> Callable[[bytes], Any]:
        self._model.model_rebuild()
        return functools.partial(self.read, codec=codec)

    def build(self, payload: object, codec: Codec) -> Any:
        if codec is JSON:  # from which a strict model takes what it takes from nothing else: a UUID from text
            return self._model.model_validate_json(JSON.encode(payload))
        return self._model.model_validate(payload)

    def reason(self, failure: Exception) -> str:
        errors: Callable[..., list[dict[str, Any]]] | None = getattr(failure, "errors", None)
        if errors is None:
            return reason_of(failure)
        found = errors(include_url=False, include_context=False)
        return "; ".join(
            f"{each['msg']} - at `{'.'.join(['$', *map(str, each['loc'])])}`" for each in found[:5]
        )


def _plain(value: object) -> object:
    from pydantic_core import to_jsonable_python

    return msgspec.to_builtins(value, builtin_types=NATIVE, enc_hook=to_jsonable_python)
