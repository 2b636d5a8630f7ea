"""How many events the next page of a run is to have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock.store.abc import StoredEvent

__all__ = ["PageSize"]

_LARGE_BYTES: Final = 8 * 1024 * 1024
"""A page with bodies of so many bytes is not followed by one that is larger than usual."""


@dataclass
class PageSize:
    """Halved where a page failed as a whole, so that the event at fault is found; doubled as long as pages go well."""

    usual: int
    most: int = 0
    """Up to so many while they are small, should that be more than usual."""
    events: int = field(init=False)
    """How many to ask for."""

    def __post_init__(self) -> None:
        self.events = self.usual

    def failed(self, events: Sequence[StoredEvent]) -> None:
        """A page of these events failed."""
        self.events = max(1, len(events) // 2)

    def committed(self, events: Sequence[StoredEvent]) -> None:
        """A page of these events was committed."""
        doubled = self.events * 2
        if doubled > self.usual and sum(len(event.data or b"") for event in events) > _LARGE_BYTES:
            doubled = self.usual
        self.events = min(doubled, max(self.usual, self.most))
