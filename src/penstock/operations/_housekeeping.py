"""Keeping house in a process of its own, with the means to stop it."""

import asyncio

from penstock.app import App
from penstock.errors import TransientError
from penstock.listeners._backoff import Backoff

__all__ = ["Housekeeping"]


class Housekeeping:
    """All jobs of housekeeping of an app's servers, until `stop`."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._stopping = asyncio.Event()

    async def wait_for_servers(self) -> None:
        """Wait until every server answers, and register the app's groups there.

        Raises:
            BrokerUnavailableError: One was away for more tries than the settings allow.
            BrokerRefusedError: One does not let us.
        """
        backoff = Backoff(
            "connecting", self.app.clock, attempts=self.app.settings.reconnect_attempts, observer=None
        )
        while True:
            try:
                await self.app.open()
            except TransientError as failure:
                await backoff.wait(failure)
            else:
                return

    async def run(self) -> None:
        """Keep house until `stop`."""
        keeping = asyncio.create_task(self.app.keep_house(), name="housekeeping")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            keeping.cancel()
            await asyncio.gather(keeping, stopping, return_exceptions=True)
        if not keeping.cancelled() and (failure := keeping.exception()) is not None:
            raise failure

    def stop(self) -> None:
        """End; what is being done is finished by whoever acts next."""
        self._stopping.set()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing would be lost by ending at once: never more than a step that is repeated."""
        return False
