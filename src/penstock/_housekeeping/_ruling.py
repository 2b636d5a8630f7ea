"""The job that lets go of events by the rules of their streams."""

from datetime import timedelta
from typing import Final

from penstock._housekeeping._jobs import Keeping
from penstock.errors import MissingMigrationError
from penstock.store._needed import exists
from penstock.telemetry import LOGGER

__all__ = ["Ruling"]

_INTERVAL: Final = timedelta(minutes=1)
_SOON: Final = timedelta(seconds=1)
_AT_ONCE: Final = 10_000
"""Events that one run removes from a store, at most."""


class Ruling:
    """Events that `StreamMetadata` lets go of are removed, as far as nobody has still to read them."""

    name = "store rules"

    async def run(self, keeping: Keeping) -> timedelta:
        """Apply the rules of every store that there is; sooner again while there is more to remove."""
        pause = _INTERVAL
        if not await keeping.acts(keeping.pools["default"], self.name, life=3 * _INTERVAL):
            return pause
        for store in keeping.stores():
            if not exists(store.database):
                continue
            try:
                removed = await store.apply_rules(limit=_AT_ONCE)
            except MissingMigrationError:
                continue  # nothing was ever said about streams there
            if removed:
                LOGGER.info(
                    "store %r: %d events were removed by the rules of their streams", store.name, removed
                )
            if removed >= _AT_ONCE:
                pause = _SOON
        return pause
