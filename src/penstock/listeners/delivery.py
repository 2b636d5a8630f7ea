"""One handing-over of an entry to a handler that settles it itself."""

from collections.abc import Awaitable, Callable

from penstock.message import Message

__all__ = ["Delivery"]


class Delivery:
    """A message together with the means to settle it; a handler asks for it by type.

    With ``acknowledge="manual"`` a message that the handler did not acknowledge stays pending when the handler returns.
    """

    __slots__ = ("_acknowledge", "is_acknowledged", "message")

    def __init__(self, message: Message, acknowledge: Callable[[], Awaitable[bool]]) -> None:
        self.message = message
        self.is_acknowledged = False
        """Whether `acknowledge` was called."""
        self._acknowledge = acknowledge

    async def acknowledge(self) -> bool:
        """Settle the message as handled now, and wait for the server's answer.

        False when it was no longer ours: someone else has it, or had it. Raises `BrokerUnavailableError`.
        """
        settled = await self._acknowledge()
        self.is_acknowledged = True
        return settled
