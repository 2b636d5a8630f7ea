"""The job that removes dead consumers where no worker of their group is left to do it."""

import uuid
from datetime import timedelta
from typing import Final

from penstock._housekeeping._jobs import Keeping, Kept
from penstock.errors import BrokerFullError, TransientError, UnknownGroupError, UnknownStreamError
from penstock.listeners._names import is_abandoned
from penstock.listeners.settings import GroupSettings
from penstock.telemetry import LOGGER

__all__ = ["Burying"]

_INTERVAL: Final = timedelta(minutes=5)
_LIFE: Final = _INTERVAL + timedelta(minutes=1)
_HEIR: Final = "(housekeeping)"
"""Nobody works under it: what it inherits in a race is claimed by the group's next worker, as from any other."""


class Burying:
    """Removes consumers that hold nothing and that nobody has worked under for `dead_after`.

    One that holds entries is left to a worker of its group, which handles them.
    """

    name = "dead consumers"

    async def run(self, keeping: Keeping) -> timedelta:
        """Look through the groups of every declared stream."""
        async for kept in keeping.streams():
            try:
                if await keeping.acts(kept.broker, self.name, life=_LIFE, stream=kept.name):
                    await self._bury(keeping, kept)
            except (TransientError, BrokerFullError, UnknownStreamError, UnknownGroupError) as failure:
                LOGGER.debug("looking for dead consumers of stream %r failed: %s", kept.name, failure)
        return _INTERVAL

    async def _bury(self, keeping: Keeping, kept: Kept) -> None:
        broker, token = kept.broker, uuid.uuid4().hex
        for group in await broker.groups(kept.name):
            declared = keeping.registry.groups.get(group.name)
            settings = declared.settings if declared is not None else GroupSettings()
            for consumer in await broker.consumers(kept.name, group.name):
                if consumer.pending or consumer.idle < settings.dead_after:
                    continue
                if not await is_abandoned(broker, group.name, consumer.name, token):
                    continue
                try:
                    await broker.remove_consumer(kept.name, group.name, consumer.name, heir=_HEIR)
                finally:
                    await broker.free_name(group.name, consumer.name, token=token)
                LOGGER.info(
                    "consumer %r of group %r on stream %r was dead for %s; removed",
                    consumer.name,
                    group.name,
                    kept.name,
                    consumer.idle,
                )
