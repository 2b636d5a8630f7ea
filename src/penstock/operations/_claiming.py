"""Moving what is pending with one consumer of a group to another, over all streams of the group."""

from penstock.listeners import move_pending
from penstock.operations._scope import Place, Scope
from penstock.operations._values import Moved

__all__ = ["claim", "pending_with"]


async def pending_with(
    scope: Scope, group: str, consumer: str, *, stream: str | None, pool: str | None
) -> list[Moved]:
    """How much is pending with a consumer, by stream; nothing where no stream has the group."""
    found: list[Moved] = []
    for place in await _places(scope, group, stream, pool):
        broker = scope.broker(place.pool)
        if broker is not None:
            summary = await broker.pending_summary(place.stream, group)
            found.append(Moved(place.pool, place.stream, summary.consumers.get(consumer, 0)))
    return found


async def claim(
    scope: Scope, group: str, source: str, target: str, *, stream: str | None, pool: str | None, force: bool
) -> list[Moved]:
    """Move everything pending with *source* to *target* and remove *source*; how many entries, by stream.

    Raises:
        ConsumerBusyError: A living process works as the source, and *force* is not given; streams before it are done.
    """
    found: list[Moved] = []
    for place in await _places(scope, group, stream, pool):
        broker = scope.broker(place.pool)
        if broker is not None:
            moved = await move_pending(broker, place.stream, group, source, target, force=force)
            found.append(Moved(place.pool, place.stream, moved))
    return found


async def _places(scope: Scope, group: str, stream: str | None, pool: str | None) -> list[Place]:
    return [
        place
        for place, broker in scope.brokers_of(await scope.places(stream, pool))
        if place.stream in await broker.streams()
        and any(each.name == group for each in await broker.groups(place.stream))
    ]
