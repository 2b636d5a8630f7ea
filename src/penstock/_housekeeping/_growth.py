"""The job that says, on the embedded server, that a stream grows and nothing bounds it."""

from datetime import timedelta
from typing import Final

from penstock._housekeeping._jobs import Keeping
from penstock.config import StreamSettings
from penstock.errors import TransientError
from penstock.telemetry import LOGGER

__all__ = ["Growth"]

_INTERVAL: Final = timedelta(minutes=1)
_LARGE: Final = 100_000


class Growth:
    """One line for each stream that has become large and has neither retention nor cap."""

    name = "growth"

    def __init__(self) -> None:
        self._told: set[str] = set()

    async def run(self, keeping: Keeping) -> timedelta:
        """Look at the length of every stream of the embedded server."""
        if not keeping.is_embedded:
            return timedelta(days=1)
        broker = keeping.pools["default"]
        try:
            for stream in await broker.streams():
                if stream in self._told or _is_bounded(keeping.settings.stream_settings.get(stream)):
                    continue
                length = await broker.length(stream)
                if length >= _LARGE:
                    self._told.add(stream)
                    LOGGER.warning(
                        "stream %r has %d entries, and nothing says when they may go; "
                        'in the settings, [stream."%s"] retention = "handled" removes what all groups have handled',
                        stream,
                        length,
                        stream,
                    )
        except TransientError as failure:
            LOGGER.debug("looking at the size of streams failed: %s", failure)
        return _INTERVAL


def _is_bounded(settings: StreamSettings | None) -> bool:
    if settings is None:
        return False
    return any(bound is not None for bound in (settings.retention, settings.max_entries, settings.max_age))
