"""From declarations to workers: which groups run, over which streams, on which server."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock._wiring import Brokers
from penstock.config import Settings
from penstock.errors import (
    ConfigurationError,
    InvalidSettingsError,
    UnregisteredGroupError,
    UnregisteredStreamError,
)
from penstock.event import event_type, is_event
from penstock.listeners._after import AfterAcknowledged
from penstock.listeners._broadcast import BroadcastWorker
from penstock.listeners._gate import Gate
from penstock.listeners._ordered._checks import check_mode
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.listeners._router import StreamRouter
from penstock.listeners._worker import GroupWorker
from penstock.listeners._works import WorkerOptions
from penstock.listeners.consuming import GroupConsumer
from penstock.listeners.groups import Group, Listener
from penstock.listeners.patterns import FindStreams, is_pattern, matching
from penstock.listeners.runner import Runner, Worker
from penstock.listeners.settings import GroupSettings
from penstock.position import NEW, Start
from penstock.streams.abc import StreamBroker
from penstock.streams.following import LanesOf
from penstock.streams.topics import with_shard

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["Selection", "build_workers", "group_consumer", "load_configured"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of an app runs, and how."""

    only: tuple[str, ...] = ()
    """Groups by name, also as ``group:NAME``; empty for all."""
    events: tuple[str, ...] = ()
    """Only listeners of these event names; empty for all."""
    consumer: str | None = None
    until_idle: bool = False
    idle_exit: timedelta | None = None
    reclaim: timedelta | None = None
    ungrouped: bool = False
    """Run the listeners without their groups: every event from *start* on, nothing acknowledged."""
    start: Start = NEW
    cursor: str | None = None
    after: AfterAcknowledged | None = None
    """Called with what groups acknowledged as handled."""


def load_configured(app: "App", settings: Settings) -> None:
    """Add to the app what its settings declare: groups with their settings, listeners by ``module:function``.

    What is there from an earlier reading stays as it is. Raises `ConfigurationError`.
    """
    for name in settings.groups:
        app.registry.group(name).configure(**settings.group_settings(name))
    app.load_projections(settings)
    for event, listeners in settings.listeners.items():
        for declared in listeners:
            group = app.registry.group(declared.group or app.name)
            handler = load_object(declared.handler, f"listener of {event!r}")
            if any(_is_from(handler, event, each) for each in group.listeners):
                continue
            if isinstance(handler, type):
                group.add_class(handler)
            else:
                group.on(event)(handler)


def _is_from(handler: object, event: str, listener: Listener) -> bool:
    return listener.owner is handler or (listener.function is handler and event in listener.events)


def load_object(where: str, what: str) -> Any:
    """The object at ``module:name``; only ever called with what settings name. Raises `ConfigurationError`."""
    module, _, name = where.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as failure:
        raise ConfigurationError(f"{what}: {where!r} cannot be loaded: {failure}") from failure
    return found


def build_workers(app: "App", brokers: Brokers, selection: Selection) -> Sequence[Worker]:
    """One worker per group and server. Raises `ConfigurationError` for anything that cannot work."""
    app.dependencies.check()
    groups = [group for group in app.registry if group.listeners and _is_selected(group, selection)]
    _check_selection(app, selection)
    routers = _routers(app, brokers, selection)
    if not groups and not routers and not app._recurring:  # pyright: ignore[reportPrivateUsage]
        raise ConfigurationError(
            f"app {app.name!r} has nothing to run; declare a listener with @app.listener(...), a projection or a relay"
        )
    _check_registered(brokers, groups, selection)
    gate = Gate()
    workers = [
        worker for group in groups for worker in _group_workers(app, brokers, group, selection, gate, routers)
    ]
    return [*workers, *routers.values()]


def _routers(app: "App", brokers: Brokers, selection: Selection) -> dict[str, StreamRouter]:
    """The routers of foreign streams, by the stream that they fill; none where only some groups are wanted."""
    partitioned = brokers.partitioned
    if partitioned is None or selection.only or selection.events or selection.ungrouped:
        return {}
    return {
        target: StreamRouter(
            declared.routed_from,
            target,
            broker=brokers.broker_for(declared.routed_from),
            target_broker=brokers.broker_for(target),
            partitioned=partitioned,
            layout=app.layouts.reader,
            clock=app.clock,
            observer=app.observer,
            until_idle=selection.until_idle,
            reconnect_attempts=app.settings.reconnect_attempts,
        )
        for target, declared in app.settings.stream_settings.items()
        if declared.routed_from is not None
    }


def _check_registered(brokers: Brokers, groups: Sequence[Group], selection: Selection) -> None:
    """Raises `ConfigurationError` with every stream and every group that would have to be registered and is not."""
    wrong: dict[str, ConfigurationError] = {}
    for group in groups:
        for stream in _streams(group, selection):
            try:
                if group.broadcast:
                    brokers.broker_for(stream)
                else:
                    brokers.check_group(group.name, stream)
            except (UnregisteredGroupError, UnregisteredStreamError) as failure:
                wrong.setdefault(str(failure), failure)
    if len(wrong) == 1:
        raise next(iter(wrong.values()))
    if wrong:
        raise InvalidSettingsError(tuple(wrong))


def _group_workers(
    app: "App",
    brokers: Brokers,
    group: Group,
    selection: Selection,
    gate: Gate,
    routers: Mapping[str, StreamRouter] | None = None,
) -> Iterator[Worker]:
    streams = _streams(group, selection)
    for stream in streams:
        if not group.broadcast:
            brokers.check_group(group.name, stream)

    async def lanes_of(stream: str) -> tuple[str, ...]:
        # Who ends when nothing is left begins when everything is in its partition.
        if selection.until_idle and routers and stream in routers:
            await routers[stream].caught_up.wait()
        return await brokers.lanes_of(stream)

    # In several pools a group is one group a pool, of one name, each with a worker of its own.
    patterns = [] if selection.events else [each for each in group.declared_streams if is_pattern(each)]
    pools = {brokers.pool_of(stream) for stream in streams} | set(brokers.pools if patterns else ())
    for pool in sorted(pools):
        part = [stream for stream in streams if brokers.pool_of(stream) == pool]
        find = _finding(brokers, group, patterns, pool) if patterns else None
        if not (group.settings.is_ordered or group.broadcast or selection.ungrouped):
            part, find = _with_lanes(brokers, part, find, lanes_of)
        yield _worker(
            app, brokers, group, part, selection, gate, pool=pool, find_streams=find, lanes_of=lanes_of
        )


def _with_lanes(
    brokers: Brokers, streams: Sequence[str], find: FindStreams | None, lanes_of: LanesOf
) -> tuple[list[str], FindStreams | None]:
    """The streams without partitions, and what finds the partitions of the others, which may change at any time."""
    whole = [stream for stream in streams if brokers.is_partitioned(stream)]
    if not whole:
        return list(streams), find

    async def find_lanes() -> list[str]:
        found = list(await find()) if find is not None else []
        for stream in whole:
            found += await lanes_of(stream)
        return found

    return [stream for stream in streams if stream not in whole], find_lanes


def _finding(brokers: Brokers, group: Group, patterns: Sequence[str], pool: str) -> FindStreams:
    """Finds the streams of one pool that have the form of a pattern, and that the group may read."""

    def is_allowed(stream: str) -> bool:
        try:
            if not group.broadcast:
                brokers.check_group(group.name, stream)
            return brokers.pool_of(stream) == pool
        except (UnregisteredGroupError, UnregisteredStreamError):
            return False

    async def find() -> list[str]:
        known = await brokers.pools[pool].streams()
        return [stream for stream in matching(patterns, known) if is_allowed(stream)]

    return find


def group_consumer(app: "App", name: str) -> GroupConsumer:
    """A declared group for a loop of one's own: all streams that code and settings give it.

    Raises:
        ConfigurationError: The group has no streams.
    """
    declared = app.registry.groups.get(name)
    listed = {stream for stream, each in app.settings.stream_settings.items() if name in (each.groups or ())}
    streams = tuple(sorted(listed.union(declared.streams if declared is not None else ())))
    if not streams:
        raise ConfigurationError(
            f"group {name!r} has no streams; declare it with app.group({name!r}, streams=[...]) or in the settings"
        )
    settings = declared.settings if declared is not None else GroupSettings()

    async def make_runner(group: Group, **how: Any) -> Runner:
        brokers = await app._prepared()  # pyright: ignore[reportPrivateUsage]
        return Runner(list(_group_workers(app, brokers, group, Selection(**how), Gate())))

    async def brokers() -> dict[str, StreamBroker]:
        servers = await app._opened()  # pyright: ignore[reportPrivateUsage]
        return {
            lane: servers.broker_for(stream) for stream in streams for lane in await servers.lanes_of(stream)
        }

    return GroupConsumer(Group(name, settings, streams=streams), make_runner, brokers)


def _worker(
    app: "App",
    brokers: Brokers,
    group: Group,
    streams: Sequence[str],
    selection: Selection,
    gate: Gate,
    *,
    pool: str,
    find_streams: FindStreams | None,
    lanes_of: LanesOf,
) -> Worker:
    broker = brokers.pools[pool]
    shared: WorkerOptions = {
        "dependencies": app.dependencies,
        "streams": streams,
        "find_streams": find_streams,
        "middleware": app.registry.middleware,
        "clock": app.clock,
        "observer": app.observer,
        "layout": app.layouts.reader,
        "until_idle": selection.until_idle,
        "idle_exit": selection.idle_exit,
        "reconnect_attempts": app.settings.reconnect_attempts,
    }
    if group.broadcast or selection.ungrouped:
        return BroadcastWorker(
            broker, group, start=selection.start, cursor=selection.cursor, lanes_of=lanes_of, **shared
        )
    check_mode(group)
    if group.settings.is_ordered:
        if selection.consumer is not None:
            raise ConfigurationError(
                f"group {group.name!r} is in mode {group.settings.mode!r}, in which a stream has one consumer, whoever "
                "works it; leave the consumer name out"
            )
        return OrderedWorker(broker, group, gate=gate, after=selection.after, lanes_of=lanes_of, **shared)
    return GroupWorker(
        broker,
        group,
        consumer=selection.consumer,
        reclaim=selection.reclaim,
        gate=gate,
        after=selection.after,
        **shared,
    )


def _is_selected(group: Group, selection: Selection) -> bool:
    if selection.only and not ({group.name, f"group:{group.name}"} & set(selection.only)):
        return False
    return bool(_streams(group, selection)) if selection.events else True


def _streams(group: Group, selection: Selection) -> tuple[str, ...]:
    """The streams that are known by name."""
    if not selection.events:
        return group.named_streams
    wanted: set[str] = set()
    for listener in group.listeners:
        found: set[str] = set()
        for each in listener.events:
            if is_event(each):
                declared = event_type(each)
                if declared.name in selection.events or declared.stream in selection.events:
                    found.add(declared.stream)
            elif each in selection.events:
                found.add(str(each))
        shard = listener.shard
        wanted |= found if shard is None else {with_shard(stream, shard) for stream in found}
    wanted |= set(group.declared_streams) & set(selection.events)
    return tuple(sorted(wanted))


def _check_selection(app: "App", selection: Selection) -> None:
    known = {name for group in app.registry for name in (group.name, f"group:{group.name}")}
    for wanted in selection.only:
        if wanted not in known:
            groups = ", ".join(sorted(app.registry.groups)) or "none"
            raise ConfigurationError(f"app {app.name!r} has no group {wanted!r} to run; it has {groups}")
