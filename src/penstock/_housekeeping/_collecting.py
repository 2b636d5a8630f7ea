"""The job that removes from streams what their retention lets go."""

from datetime import timedelta
from typing import Final

from penstock._housekeeping._jobs import Keeping, Kept
from penstock.errors import BrokerFullError, TransientError
from penstock.streams.abc import Hold, HoldKind
from penstock.streams.collector import COLLECTOR, collect
from penstock.telemetry import LOGGER

__all__ = ["Collecting"]

_INTERVAL: Final = timedelta(seconds=3)
_LIFE: Final = _INTERVAL * 4
_SOON: Final = timedelta(milliseconds=50)
_TOO_LONG: Final = timedelta(days=1)


class Collecting:
    """Collects each stream that has a retention, every few seconds, by one process at a time."""

    name = COLLECTOR

    def __init__(self) -> None:
        self._warned: dict[tuple[str, str, str], int] = {}

    async def run(self, keeping: Keeping) -> timedelta:
        """Collect every stream for a moment; soon again where there was more than a moment's work."""
        more = False
        async for kept in keeping.streams():
            if kept.settings.retention is None:
                continue
            try:
                more = await self._collect(keeping, kept) or more
            except (TransientError, BrokerFullError) as failure:
                LOGGER.debug("collecting stream %r failed: %s", kept.name, failure)
        return _SOON if more else _INTERVAL

    async def _collect(self, keeping: Keeping, kept: Kept) -> bool:
        retention = kept.settings.retention
        if retention is None or not await keeping.acts(kept.broker, COLLECTOR, life=_LIFE, stream=kept.name):
            return False
        done = await collect(kept.broker, kept.name, retention, remove_needed=kept.settings.remove_needed)
        if done.removed:
            LOGGER.debug("collected %d entries of stream %r", done.removed, kept.name)
        now_us = await kept.broker.server_time_us() if done.held_by else 0
        for hold in done.held_by:
            self._warn(kept, hold, now_us)
        return done.more

    def _warn(self, kept: Kept, hold: Hold, now_us: int) -> None:
        """Once a day: a group that never comes keeps everything."""
        if hold.kind is not HoldKind.ABSENT_GROUP or hold.since is None:
            return
        days = int((now_us / 1_000_000 - hold.since.timestamp()) / _TOO_LONG.total_seconds())
        which = kept.pool, kept.name, hold.name
        if days > self._warned.get(which, 0):
            self._warned[which] = days
            LOGGER.warning(
                "stream %r keeps everything for group %r, which was registered %d days ago and never came; "
                "start its worker, or forget it: penstock groups delete %s --stream %s",
                kept.name,
                hold.name,
                days,
                hold.name,
                kept.name,
            )
