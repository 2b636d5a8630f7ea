"""The housekeeper: does every job again and again, and gives up at the end what it held."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from penstock._housekeeping._burying import Burying
from penstock._housekeeping._collecting import Collecting
from penstock._housekeeping._growth import Growth
from penstock._housekeeping._inboxes import Forgetting
from penstock._housekeeping._jobs import Job, Keeping
from penstock._housekeeping._ruling import Ruling
from penstock.errors import BrokerFullError, PenstockError, TransientError
from penstock.lifecycle import side_by_side
from penstock.listeners.inbox import Inboxes
from penstock.telemetry import LOGGER

if TYPE_CHECKING:
    from penstock._building import Selection
    from penstock._wiring import Brokers
    from penstock.app import App

__all__ = ["HOUSEKEEPING", "Housekeeper", "beside_work", "keeping_of"]

HOUSEKEEPING: Final[Sequence[Callable[[], Job]]] = (Collecting, Burying, Growth, Forgetting, Ruling)
"""Makers of all jobs. A job keeps what it remembers between two runs in itself."""

_AFTER_A_FAILURE: Final = timedelta(seconds=10)
_GIVE_UP_SECONDS: Final = 2.0


class Housekeeper:
    """Does all jobs until it is cancelled."""

    def __init__(self, keeping: Keeping, jobs: Sequence[Callable[[], Job]] = HOUSEKEEPING) -> None:
        self._keeping = keeping
        self._jobs = [make() for make in jobs]

    async def run(self) -> None:
        """Do every job again and again; what is held is given up at the end, so that others go on at once."""
        tasks = [asyncio.create_task(self._keep(job), name=f"housekeeping: {job.name}") for job in self._jobs]
        try:
            await side_by_side(tasks)
        finally:
            with contextlib.suppress(PenstockError, TimeoutError):
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    await self._keeping.give_up()

    async def _keep(self, job: Job) -> None:
        told: str | None = None
        while True:
            try:
                pause = await job.run(self._keeping)
                told = None
            except (TransientError, BrokerFullError) as failure:
                LOGGER.debug("housekeeping, %s: %s", job.name, failure)
                pause = _AFTER_A_FAILURE
            except PenstockError as failure:
                if told != str(failure):
                    told = str(failure)
                    LOGGER.error("housekeeping, %s: %s", job.name, failure)
                pause = _AFTER_A_FAILURE
            await self._keeping.clock.sleep(pause)


def keeping_of(app: "App", brokers: "Brokers") -> Keeping:
    """What jobs work with in this app."""
    return Keeping(
        app.settings,
        brokers.pools,
        app.registry,
        app.clock,
        is_embedded=app.is_embedded,
        stores=lambda: [app.store(name) for name in app.store_names],
        clean_inbox=app.dependencies.value_of(Inboxes).clean,
    )


def beside_work(
    app: "App", brokers: "Brokers", selection: "Selection"
) -> Callable[[], Coroutine[Any, Any, None]] | None:
    """What keeps house beside the workers; ``None`` where the settings do not want it, or the work ends by itself."""
    if not app.settings.housekeeping or selection.until_idle or selection.ungrouped:
        return None
    return Housekeeper(keeping_of(app, brokers)).run
