"""Payloads read by name, for events that have no class."""

from typing import Any

from penstock.errors import DecodeError
from penstock.store.abc import StoredEvent

__all__ = ["PayloadMapper"]


class PayloadMapper:
    """The payload of an event by the names of its fields. Subclass it with getters of your own; ask for it by type.

    For example::

    class ProfileCreated(PayloadMapper):
        @property
        def room_min_size(self) -> str:
            return self.get_or_default("room_min_size", "0")
    """

    __slots__ = ("event",)

    def __init__(self, event: StoredEvent) -> None:
        self.event = event
        """The event: `id`, `name`, `stream`, `time`, `recorded_at`, `headers`, ..."""

    def get(self, path: str) -> Any:
        """The value at *path*, dots leading inwards: ``get("customer.address.city")``. Raises `DecodeError`."""
        try:
            return self.event.get(path)
        except KeyError:
            raise DecodeError(
                self.event.content_type,
                f"the payload of {self.event.name!r} (event {self.event.id}) has no {path!r}; "
                "read it with get_or_default if it may be missing",
            ) from None

    def get_or_default(self, path: str, default: Any = None) -> Any:
        """The value at *path*, or *default* where there is none. A value that is null is a value."""
        return self.event.get(path, default)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.event!r}>"
