"""Removing entries, streams and groups because a person says so; what held entries back is always told."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock.errors import ConsumerBusyError, UnknownGroupError, UnknownStreamError, UsageError
from penstock.listeners import working_as
from penstock.operations._holding import HeldBy
from penstock.operations._scope import Place, Scope
from penstock.position import EntryId, Start
from penstock.streams.abc import Floor, Hold, HoldKind, StreamBroker
from penstock.streams.collector import older_than, trim_all

__all__ = [
    "DeletedStream",
    "Purged",
    "ResetGroup",
    "delete_group",
    "delete_stream",
    "purge",
    "reset_group",
    "trim",
]


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed from a stream, or would be; `held_by`: who needs the oldest entry that was to go and stayed."""

    pool: str
    stream: str
    removed: int
    left: int
    held_by: tuple[HeldBy, ...] = ()


@dataclass(frozen=True, slots=True)
class DeletedStream:
    """A stream that was deleted, or would be, and what goes with it."""

    pool: str
    stream: str
    entries: int
    groups: tuple[str, ...]
    failures: int


@dataclass(frozen=True, slots=True)
class ResetGroup:
    """A group that was set to another place, or would be."""

    pool: str
    stream: str
    group: str
    before: EntryId
    """What it was last delivered."""
    after: EntryId
    """What it counts as delivered now."""
    pending: int
    """Entries that were delivered and not settled; they stay so, and are handled."""


# -- entries --------------------------------------------------------------------------------------------------------


async def purge(
    scope: Scope, places: Sequence[Place], *, age: timedelta | None, force: bool, dry_run: bool
) -> AsyncGenerator[Purged, None]:
    """Remove what is older than *age* (everything, without it) and that nobody needs, stream by stream."""
    for place, broker in scope.brokers_of(list(places)):
        if await broker.length(place.stream):
            below = None if age is None else await older_than(broker, age)
            yield await trim(scope, place, below=below, keep=None, force=force, dry_run=dry_run)


async def trim(
    scope: Scope, place: Place, *, below: EntryId | None, keep: int | None, force: bool, dry_run: bool
) -> Purged:
    """Remove the oldest entries of one stream, or say what would be removed. Raises `UnknownStreamError`."""
    broker = scope.broker(place.pool)
    if broker is None or place.stream not in await broker.streams():
        raise UnknownStreamError(place.stream)
    if dry_run:
        return await _planned(scope, place, broker, below=below, keep=keep, force=force)
    await broker.removal.register_groups(place.stream, sorted(scope.groups_of(place)))
    done = await trim_all(broker, place.stream, below=below, keep=keep, force=force)
    left = await broker.length(place.stream)
    return Purged(place.pool, place.stream, done.removed, left, HeldBy.of(done.held_by))


async def _planned(
    scope: Scope, place: Place, broker: StreamBroker, *, below: EntryId | None, keep: int | None, force: bool
) -> Purged:
    if keep is not None and keep < 0:
        raise UsageError(f"keep is {keep}; at least 0 entries can be kept")
    stream, length = place.stream, await broker.length(place.stream)
    floor = await _floor(scope, place, broker)
    asked = length if below is None else await broker.removal.count_below(stream, below)
    asked = asked if keep is None else max(0, min(asked, length - keep))
    if force or floor.entry_id is None:
        return Purged(place.pool, stream, asked, length - asked)
    free = await broker.removal.count_below(stream, floor.entry_id)
    if free >= asked:
        return Purged(place.pool, stream, asked, length - asked)
    oldest = await broker.range(stream, floor.entry_id, count=1)
    holding = [hold for hold in floor.holds if oldest and hold.needs <= EntryId.parse(oldest[0][0])]
    return Purged(place.pool, stream, free, length - free, HeldBy.of(holding))


async def _floor(scope: Scope, place: Place, broker: StreamBroker) -> Floor:
    """The floor with the groups that only our own settings know: removing would register them first."""
    floor = await broker.removal.floor(place.stream)
    known = {hold.name for hold in floor.holds if hold.kind in (HoldKind.GROUP, HoldKind.ABSENT_GROUP)}
    absent = tuple(
        Hold(HoldKind.ABSENT_GROUP, name, EntryId(0)) for name in sorted(scope.groups_of(place) - known)
    )
    return Floor(EntryId(0), absent + floor.holds) if absent else floor


# -- streams --------------------------------------------------------------------------------------------------------


async def delete_stream(scope: Scope, place: Place, *, dry_run: bool) -> DeletedStream:
    """Remove a stream with its groups and all that is kept beside it. Raises `UnknownStreamError`."""
    broker = scope.broker(place.pool)
    if broker is None:
        raise UnknownStreamError(place.stream)
    info = await broker.info(place.stream)
    groups = tuple(group.name for group in await broker.groups(place.stream))
    tallies = await broker.failures.tally(place.stream)
    failures = sum(tally.retrying + tally.failed for tally in tallies)
    if not dry_run:
        await broker.delete_stream(place.stream)
    return DeletedStream(place.pool, place.stream, info.length, groups, failures)


# -- groups ---------------------------------------------------------------------------------------------------------


async def reset_group(scope: Scope, place: Place, group: str, start: Start, *, dry_run: bool) -> ResetGroup:
    """Have a group go on at another place. Raises `UnknownGroupError`."""
    broker = scope.broker(place.pool)
    if broker is None:
        raise UnknownGroupError(place.stream, group)
    try:
        known = {each.name: each for each in await broker.groups(place.stream)}
    except UnknownStreamError:
        known = {}
    if group not in known:
        raise UnknownGroupError(place.stream, group)
    after = EntryId.parse(await broker.resolve(place.stream, start))
    if not dry_run:
        await broker.move_group(place.stream, group, after)
    before = known[group]
    return ResetGroup(place.pool, place.stream, group, before.last_delivered, after, before.pending)


async def delete_group(scope: Scope, place: Place, group: str, *, force: bool, dry_run: bool) -> int:
    """Remove a group, or expect one no more that never came; how many entries were pending with it.

    Raises:
        UnknownGroupError: It neither exists nor is registered.
        ConsumerBusyError: A living process works in it, and would make it again; *force* is not given.
    """
    broker = scope.broker(place.pool)
    if broker is None:
        raise UnknownGroupError(place.stream, group)
    try:
        pending = (await broker.pending_summary(place.stream, group)).count
        consumers = await broker.consumers(place.stream, group)
    except UnknownGroupError:
        if group not in await broker.removal.registered_groups(place.stream):
            raise
        pending, consumers = 0, []
    for consumer in consumers if not force else ():
        holder = await working_as(broker, group, consumer.name)
        if holder is not None:
            raise ConsumerBusyError(group, consumer.name, holder)
    if not dry_run:
        await broker.delete_group(place.stream, group)
    return pending
