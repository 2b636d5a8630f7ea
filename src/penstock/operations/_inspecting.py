"""Looking at streams, groups and servers. Nothing is changed, and nothing is created by looking."""

from collections.abc import Iterator, Sequence

from penstock.config import mask
from penstock.errors import UnknownGroupError, UnknownStreamError
from penstock.operations._holding import HeldBy, LeaseView, ListenerSpeed
from penstock.operations._scope import Place, Scope
from penstock.operations._values import (
    ConsumerSummary,
    GroupDetail,
    GroupSummary,
    LaneOwner,
    PendingView,
    ServerSummary,
    StreamDetail,
    StreamSummary,
    WorkerSummary,
)
from penstock.position import NEW, EntryId
from penstock.streams.abc import ConsumerInfo, GroupFigures, GroupInfo, LeaseInfo, StreamBroker, StreamInfo
from penstock.streams.collector import COLLECTOR

__all__ = [
    "group_detail",
    "group_summaries",
    "server_summary",
    "stream_detail",
    "stream_summaries",
    "uncollected",
    "workers",
]

_ALIVE_SECONDS = 15.0
"""A worker reads, or asks for its name again, every few seconds, whether there is work or not."""
_OLDEST = 10


# -- streams --------------------------------------------------------------------------------------------------------


async def stream_summaries(scope: Scope, places: Sequence[Place]) -> list[StreamSummary]:
    """Each stream in one look, those that are only registered too."""
    return [await _stream_summary(scope, place) for place in places]


async def stream_detail(scope: Scope, place: Place) -> StreamDetail:
    """One stream with its groups and cursors. Raises `UnknownStreamError`."""
    summary = await _stream_summary(scope, place)
    if not summary.exists and not summary.registered:
        raise UnknownStreamError(place.stream)
    broker = scope.broker(place.pool)
    groups = tuple(await group_summaries(scope, [place]))
    retention = _retention(scope, place)
    if broker is None:
        return StreamDetail(summary, groups, {}, retention=retention)
    floor = await broker.removal.floor(place.stream)
    layout = await broker.partitions.layout(place.stream)
    return StreamDetail(
        summary,
        groups,
        dict(sorted((await broker.cursors(place.stream)).items())),
        held_by=HeldBy.of(floor.holds),
        leases=tuple(map(_lease, await broker.leases.leases(place.stream))),
        partitions=None if layout is None else layout.partitions,
        retention=retention,
    )


def _lease(lease: LeaseInfo) -> LeaseView:
    return LeaseView(lease.name, lease.description, lease.fence, lease.remaining.total_seconds())


def _retention(scope: Scope, place: Place) -> str | None:
    declared = scope.app.settings.stream_settings.get(place.stream) if scope.app is not None else None
    return str(declared.retention) if declared is not None and declared.retention is not None else None


async def uncollected(scope: Scope) -> list[str]:
    """Streams that have a retention and that nobody collects at this moment."""
    found: list[str] = []
    for place, broker in scope.brokers_of(sorted(scope.registered)):
        if _retention(scope, place) is None:
            continue
        if await broker.leases.look(COLLECTOR, stream=place.stream) is None:
            found.append(place.stream)
    return found


async def _stream_summary(scope: Scope, place: Place) -> StreamSummary:
    registered = place in scope.registered
    info = await _info(scope, place)
    retrying, failed = await _tally(scope, place)
    if info is None:
        return StreamSummary(
            place.pool, place.stream, exists=False, registered=registered, retrying=retrying, failed=failed
        )
    return StreamSummary(
        place.pool,
        place.stream,
        exists=True,
        registered=registered,
        length=info.length,
        first=info.first,
        last=info.last,
        groups=info.groups,
        retrying=retrying,
        failed=failed,
        memory_bytes=info.memory_bytes,
    )


async def _info(scope: Scope, place: Place) -> StreamInfo | None:
    broker = scope.broker(place.pool)
    if broker is None:
        return None
    try:
        return await broker.info(place.stream)
    except UnknownStreamError:
        return None


async def _tally(scope: Scope, place: Place, group: str | None = None) -> tuple[int, int]:
    broker = scope.broker(place.pool)
    found = await broker.failures.tally(place.stream) if broker is not None else []
    counted = [tally for tally in found if group in (None, tally.group)]
    return sum(tally.retrying for tally in counted), sum(tally.failed for tally in counted)


# -- groups ---------------------------------------------------------------------------------------------------------


async def group_summaries(scope: Scope, places: Sequence[Place]) -> list[GroupSummary]:
    """The groups of each stream, those that are only registered too, by name."""
    found: list[GroupSummary] = []
    for place in places:
        broker = scope.broker(place.pool)
        there = {info.name: info for info in await _group_infos(broker, place.stream)}
        expected = await broker.removal.registered_groups(place.stream) if broker is not None else {}
        for name in sorted(there.keys() | scope.groups_of(place) | expected.keys()):
            if broker is not None and name in there:
                found.append(await _group_summary(scope, broker, place, there[name]))
            else:
                found.append(await _missing_group(scope, place, name))
    return found


async def group_detail(scope: Scope, place: Place, name: str) -> GroupDetail:
    """One group with its consumers and oldest pending entries. Raises `UnknownGroupError`."""
    summary = next((each for each in await group_summaries(scope, [place]) if each.name == name), None)
    if summary is None:
        raise UnknownGroupError(place.stream, name)
    broker = scope.broker(place.pool)
    if broker is None or not summary.exists:
        return GroupDetail(summary, (), ())
    consumers = [_consumer(info) for info in await broker.consumers(place.stream, name)]
    pending = [
        PendingView(each.entry_id, each.consumer, each.idle.total_seconds(), each.delivery_count)
        for each in await broker.pending(place.stream, name, count=_OLDEST)
    ]
    figures = await broker.figures.figures(place.stream, name)
    return GroupDetail(
        summary,
        tuple(consumers),
        tuple(pending),
        await _owner(broker, place.stream, name),
        figures.events_per_second,
        tuple(_speeds(figures)),
    )


def _speeds(figures: GroupFigures) -> Iterator[ListenerSpeed]:
    for day, by_listener in sorted(figures.days.items(), reverse=True):
        for listener, runs in by_listener.items():
            if runs.runs:
                median, p95, p99 = (runs.percentile(share) or 0.0 for share in (0.5, 0.95, 0.99))
                mean = runs.seconds / runs.runs
                yield ListenerSpeed(day.isoformat(), listener, runs.runs, runs.failed, mean, median, p95, p99)


async def _owner(broker: StreamBroker, stream: str, group: str) -> LaneOwner | None:
    lease = await broker.leases.look(f"group:{group}", stream=stream)
    if lease is None:
        return None
    return LaneOwner(lease.description, lease.fence, lease.remaining.total_seconds())


async def _group_infos(broker: StreamBroker | None, stream: str) -> list[GroupInfo]:
    if broker is None:
        return []
    try:
        return await broker.groups(stream)
    except UnknownStreamError:
        return []


async def _group_summary(scope: Scope, broker: StreamBroker, place: Place, info: GroupInfo) -> GroupSummary:
    now_ms = await broker.server_time_us() // 1000
    lowest = await _lowest_pending(broker, place.stream, info)
    retrying, failed = await _tally(scope, place, info.name)
    return GroupSummary(
        place.pool,
        place.stream,
        info.name,
        exists=True,
        registered=info.name in scope.groups_of(place),
        consumers=info.consumers,
        pending=info.pending,
        lag_entries=info.lag_entries,
        lag_seconds=await _lag_seconds(broker, place.stream, info, now_ms),
        oldest_pending_seconds=None if lowest is None else _age(lowest, now_ms),
        last_delivered=info.last_delivered,
        retrying=retrying,
        failed=failed,
    )


async def _lowest_pending(broker: StreamBroker, stream: str, info: GroupInfo) -> EntryId | None:
    if not info.pending:
        return None
    try:
        return (await broker.pending_summary(stream, info.name)).lowest
    except UnknownGroupError:  # deleted since it was listed
        return None


async def _lag_seconds(broker: StreamBroker, stream: str, info: GroupInfo, now_ms: int) -> float:
    if not info.lag_entries:
        return 0.0
    following = await broker.range(stream, info.last_delivered.next(), count=1)
    return _age(EntryId.parse(following[0][0]), now_ms) if following else 0.0


async def _missing_group(scope: Scope, place: Place, name: str) -> GroupSummary:
    broker = scope.broker(place.pool)
    length, age = 0, 0.0
    if broker is not None and scope.start_of(name) is not NEW:
        length = await broker.length(place.stream)
        oldest = await broker.range(place.stream, count=1)
        if oldest:
            age = _age(EntryId.parse(oldest[0][0]), await broker.server_time_us() // 1000)
    retrying, failed = await _tally(scope, place, name)
    return GroupSummary(
        place.pool,
        place.stream,
        name,
        exists=False,
        registered=True,
        lag_entries=length,
        lag_seconds=age,
        retrying=retrying,
        failed=failed,
    )


def _age(entry_id: EntryId, now_ms: int) -> float:
    """The age of an entry in seconds. Ids may be given by hand and lie ahead: those are new."""
    return max(0, now_ms - entry_id.ms) / 1000


def _consumer(info: ConsumerInfo) -> ConsumerSummary:
    idle = info.idle.total_seconds()
    return ConsumerSummary(info.name, info.pending, idle, idle < _ALIVE_SECONDS)


async def workers(scope: Scope, groups: Sequence[GroupSummary]) -> list[WorkerSummary]:
    """The consumers of these groups, each once per pool and group."""
    found: dict[tuple[str, str, str], list[tuple[str, ConsumerInfo]]] = {}
    for group in groups:
        broker = scope.broker(group.pool)
        if broker is None or not group.consumers:
            continue
        try:
            consumers = await broker.consumers(group.stream, group.name)
        except UnknownGroupError:
            continue
        for info in consumers:
            found.setdefault((group.pool, group.name, info.name), []).append((group.stream, info))
    return [_worker(*who, streams) for who, streams in sorted(found.items(), key=lambda item: item[0])]


def _worker(
    pool: str, group: str, consumer: str, streams: Sequence[tuple[str, ConsumerInfo]]
) -> WorkerSummary:
    idle = min(info.idle.total_seconds() for _, info in streams)
    pending = sum(info.pending for _, info in streams)
    names = tuple(stream for stream, _ in streams)
    return WorkerSummary(pool, group, consumer, names, pending, idle, idle < _ALIVE_SECONDS)


# -- servers --------------------------------------------------------------------------------------------------------


def server_summary(scope: Scope, pool: str, broker: StreamBroker) -> ServerSummary:
    """What the server of a pool is and promises."""
    able = broker.capabilities
    url, embedded = _where(scope, pool, able.product)
    return ServerSummary(
        pool=pool,
        url=url,
        embedded=embedded,
        product=able.product,
        version=".".join(map(str, able.version)),
        appendfsync=able.appendfsync,
        maxmemory_policy=able.maxmemory_policy,
        cluster=able.cluster,
    )


def _where(scope: Scope, pool: str, product: str) -> tuple[str, bool]:
    """The pool's URL without its password, and whether it is the embedded server's."""
    if product == "memory":
        return "memory://", False
    if scope.app is None:
        return "(a connection that was handed in)", False
    settings = scope.app.settings
    if pool in settings.pools:
        return mask(settings.pools[pool].url), False
    if scope.app.is_embedded:
        return f"embedded in {settings.data_folder}", True
    if settings.streams is not None:
        return mask(settings.streams), False
    return "(a connection that was handed in)", False
