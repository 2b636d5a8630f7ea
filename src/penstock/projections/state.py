"""State projections: a fold whose state is saved with the checkpoint, in one transaction."""

import typing
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.errors import ConfigurationError

__all__ = ["UNSET", "StateKind"]


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: typing.Final = _Unset()
"""The projection keeps no state."""


class StateKind:
    """What kind of state a projection has: how it begins, becomes bytes, and comes back.

    *initial* is the value to begin with, or a type or function that makes it. It is written as JSON, so it is what
    msgspec can write: numbers, texts, lists, dicts, dataclasses, structs.
    """

    def __init__(self, projection: str, initial: Any, annotation: Any = Any) -> None:
        self._projection = projection
        self._make: Callable[[], Any] | None = initial if callable(initial) else None
        if self._make is None:
            self._kept = self._bytes(initial)
            self._type: Any = type(initial) if annotation is Any else annotation
        else:
            self._kept = b""
            self._type = annotation if annotation is not Any or not isinstance(initial, type) else initial
        begins = initial if self._make is None else self._make()
        if self.read(self.write(begins)) != begins:
            raise ConfigurationError(
                f"the state of projection {projection!r} does not come back from JSON as it was: {begins!r}; "
                "annotate the state of its first handler, as in dict[int, str]"
            )

    def first(self) -> Any:
        """The state before any event."""
        return self._make() if self._make is not None else self.read(self._kept)

    def write(self, state: Any) -> bytes:
        """The state as bytes. Raises `ConfigurationError` for what cannot be written."""
        return self._bytes(state)

    def read(self, data: bytes | None) -> Any:
        """The state in *data*; without, as it begins. Raises `ConfigurationError` if it is of another shape."""
        if data is None:
            return self.first()
        try:
            return msgspec.json.decode(data, type=self._type)
        except (msgspec.ValidationError, TypeError) as failure:
            raise ConfigurationError(
                f"the saved state of projection {self._projection!r} is of another shape: {failure}; "
                "reset the projection, or give it a new version"
            ) from failure

    def _bytes(self, state: Any) -> bytes:
        try:
            return msgspec.json.encode(state)
        except (TypeError, ValueError, msgspec.MsgspecError) as failure:
            raise ConfigurationError(
                f"the state of projection {self._projection!r} cannot be written: {failure}; "
                "use numbers, texts, lists, dicts, dataclasses or structs"
            ) from failure
