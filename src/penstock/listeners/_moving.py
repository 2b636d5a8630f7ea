"""Moving what is pending with one consumer to another, and removing the first: nothing pending is ever lost."""

import contextlib
import uuid

from penstock.errors import ConsumerBusyError, UnknownGroupError
from penstock.listeners._names import holder_of, is_abandoned
from penstock.streams.abc import StreamBroker

__all__ = ["move_pending"]


async def move_pending(
    broker: StreamBroker, stream: str, group: str, source: str, target: str, *, force: bool
) -> int:
    """Move everything pending with *source* to *target*, then remove *source*; how many entries moved.

    The source's name is held meanwhile, so that nobody begins to work under it. A *target* at work finds the entries
    among its own. A consumer, group or stream that does not exist has nothing to move.

    Raises:
        ConsumerBusyError: A living process works under the source's name, and *force* is not given.
    """
    token = uuid.uuid4().hex
    held = await is_abandoned(broker, group, source, token)
    if not held and not force:
        raise ConsumerBusyError(group, source, await holder_of(broker, group, source))
    try:
        with contextlib.suppress(UnknownGroupError):
            return await broker.remove_consumer(stream, group, source, heir=target)
        return 0
    finally:
        if held:
            await broker.free_name(group, source, token=token)
