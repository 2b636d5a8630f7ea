"""What penstock tells about itself: hooks that cost nothing until someone listens.

Hooks are called per batch wherever there is one, never awaited, and must not raise; one that does is logged once and
the work goes on. Nothing is logged per message.
"""

import logging
from datetime import timedelta
from typing import Final

__all__ = ["LOGGER", "Observer"]

LOGGER: Final = logging.getLogger("penstock")
"""The one logger (children carry the part's name); penstock never configures logging."""


class Observer:
    """Subclass it, override what you want to know, give it to the app as ``observer=``. These hooks do nothing."""

    def published(self, stream: str, count: int, seconds: float) -> None:
        """*count* events were written in one call that took *seconds*."""

    def delivered(self, group: str, stream: str, count: int) -> None:
        """*count* entries came in with one read."""

    def acknowledged(self, group: str, stream: str, count: int) -> None:
        """*count* entries were settled as handled."""

    def failed(self, group: str, stream: str, listener: str, error: BaseException, attempt: int) -> None:
        """A listener failed on run number *attempt*; its record is written."""

    def lost(self, group: str, stream: str, count: int) -> None:
        """*count* entries were no longer ours when we came to settle them; others have them or had them."""

    def unhandled(self, group: str, stream: str, name: str) -> None:
        """An event that no listener of the group handles was met; the group's policy was applied."""

    def reconnecting(self, what: str, attempt: int, delay: timedelta, cause: BaseException) -> None:
        """The server is away; the next try comes after *delay*."""

    def reconnected(self, what: str) -> None:
        """The server is back."""
