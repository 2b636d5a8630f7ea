"""What a declaration knows to do: name, key and version of an event, its body to bytes and back."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from penstock.codec import Codec, codec_for
from penstock.errors import ConfigurationError, DecodeError, PenstockError, UsageError
from penstock.event._bodies import Body

__all__ = ["EventType", "Key", "Upcast"]

Key: TypeAlias = str | Callable[[Any], object]
"""What orders and shards an event: the name of a field or property, or a function of the event."""

Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""A payload of one version to a payload of the next."""


@dataclass(frozen=True, slots=True, eq=False)
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
    body: Body = field(repr=False)
    history: bool = False
    """Whether its events are indexed by key, so that the history of one entity can be read."""
    upcasters: dict[int, Upcast] = field(default_factory=dict, repr=False)
    """By the version that each starts from."""
    content_type: str = field(init=False)
    has_body: bool = field(init=False)
    """False for a class without fields: its events have no body at all, and no codec is asked."""
    decode_current: Callable[[bytes], Any] = field(init=False, repr=False)
    """Bytes of the present version and `content_type` to an event; raises whatever its decoder raises."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_type", self.codec.content_type)
        object.__setattr__(self, "has_body", not self.body.is_empty)
        object.__setattr__(self, "decode_current", self._decode_first)

    def encode(self, event: object, codec: Codec | None = None) -> bytes | None:
        """The body of an event, by *codec* where one is given; ``None`` when it has none. Raises `EncodeError`."""
        return self.body.write(event, codec or self.codec) if self.has_body else None

    def decode(self, data: bytes | None, *, version: int, content_type: str) -> Any:
        """The event in a body of any version up to the present one; older ones are upcast first.

        Fields that the class does not know are passed over, so that emitters can be ahead of their readers.

        Raises:
            DecodeError: The bytes do not fit, the version is newer than the class, or an upcaster is missing or failed.
            UnknownContentTypeError: No codec of ours answers to it.
        """
        try:
            if data is not None and version == self.version and content_type == self.content_type:
                return self.decode_current(data)
            return self._decode_other(data, version, content_type)
        except DecodeError as failure:
            raise DecodeError(content_type, f"{self.name!r}: {failure.reason}") from failure.__cause__
        except (PenstockError, MemoryError):
            raise
        except Exception as failure:
            raise DecodeError(content_type, f"{self.name!r}: {self.body.reason(failure)}") from failure

    def key_of(self, event: Any) -> str | None:
        """What orders and shards this event. Raises `UsageError` for a key that is no text, whole number or UUID."""
        if self.key is None:
            return None
        if isinstance(self.key, str):
            value = (
                cast("dict[str, object]", event)[self.key]
                if isinstance(event, dict)
                else getattr(event, self.key)
            )
        else:
            value = self.key(event)
        if type(value) is str:
            return value
        if isinstance(value, str):
            return str.__str__(value)  # of an enumeration its value, not its name
        if isinstance(value, int) and not isinstance(value, bool):
            return str(int(value))
        if isinstance(value, uuid.UUID):
            return str(value)
        raise UsageError(f"the key of {self.name!r} is {value!r}; a key is text, a whole number or a UUID")

    def check(self) -> None:
        """Find now what reading would stumble over later.

        Raises:
            ConfigurationError: A version that no upcaster leads on from, or a field that cannot be read.
        """
        self._reader()
        for step in range(1, self.version):
            if step not in self.upcasters:
                raise ConfigurationError(
                    f"{self.name!r} is at version {self.version}, and {self._no_way(step)}"
                )

    def _reader(self) -> Callable[[bytes], Any]:
        try:
            return self.body.reader(self.codec)
        except (TypeError, NameError) as failure:
            raise ConfigurationError(
                f"events of {self.cls.__qualname__} cannot be read: {failure}"
            ) from failure

    def _decode_first(self, data: bytes) -> Any:
        # Not before the first event: annotations may name classes that are defined below this one.
        object.__setattr__(self, "decode_current", self._reader())
        return self.decode_current(data)

    def _decode_other(self, data: bytes | None, version: int, content_type: str) -> Any:
        if version > self.version:
            raise DecodeError(
                content_type,
                f"the event is of version {version}, and {self.cls.__qualname__} knows versions up to {self.version}; "
                "deploy the newer class to its readers first",
            )
        codec = self.codec if content_type == self.content_type else codec_for(content_type)
        if version == self.version and data is not None:
            return self.body.read(data, codec)
        payload: Any = {} if data is None else codec.decode(data)
        for step in range(version, self.version):
            payload = self._upcast(payload, step, content_type)
        return self.body.build(payload, codec)

    def _upcast(self, payload: Any, step: int, content_type: str) -> Any:
        if step not in self.upcasters:
            raise DecodeError(
                content_type, f"the event is older than version {self.version}, and {self._no_way(step)}"
            )
        try:
            newer: Any = self.upcasters[step](payload)
        except Exception as failure:
            reason = f"its upcaster from version {step} failed: {type(failure).__name__}: {failure}"
            raise DecodeError(content_type, reason) from failure
        if newer is None:
            raise DecodeError(
                content_type, f"its upcaster from version {step} returned None instead of a payload"
            )
        return newer

    def _no_way(self, step: int) -> str:
        return (
            f"nothing leads from version {step} to {step + 1}; "
            f"register it with @upcaster({self.cls.__qualname__}, from_version={step})"
        )
