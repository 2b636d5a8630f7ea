"""Shares of the keys: where several handle events at once, those of one key go to one of them, in their order."""

import hashlib
from dataclasses import dataclass

__all__ = ["Lane"]


@dataclass(frozen=True, slots=True)
class Lane:
    """The events of a share of the keys: where several handle events by key at once, each reads a lane of its own."""

    number: int
    """From 0."""
    of: int
    """How many there are, at most 65,536."""

    def has(self, key: str | None, stream: str) -> bool:
        """Whether an event of this key is in the lane; what has no key is of its stream.

        The first 16 bits of the SHA-256, which PostgreSQL has as well: databases and processes agree about it.
        """
        digest = hashlib.sha256((stream if key is None else key).encode()).digest()
        return int.from_bytes(digest[:2], "big") % self.of == self.number
