"""From declarations to workers: which groups run, over which streams, on which server."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock._wiring import Brokers
from penstock.config import Settings
from penstock.errors import ConfigurationError
from penstock.event import event_type, is_event
from penstock.listeners._broadcast import BroadcastWorker
from penstock.listeners._gate import Gate
from penstock.listeners._worker import GroupWorker
from penstock.listeners.groups import Group, Listener
from penstock.listeners.runner import Worker
from penstock.position import NEW, Start

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["Selection", "build_workers", "load_configured"]


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


def load_configured(app: "App", settings: Settings) -> None:
    """Add to the app what its settings declare: groups with their settings, listeners by ``module:function``.

    What is there from an earlier reading stays as it is. Raises `ConfigurationError`.
    """
    for name in settings.groups:
        app.registry.group(name).configure(**settings.group_settings(name))
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
    if not groups:
        raise ConfigurationError(
            f"app {app.name!r} has no listeners to run; declare one with @app.listener(...)"
        )
    gate = Gate()
    workers: list[Worker] = []
    for group in groups:
        streams = _streams(group, selection)
        for stream in streams:
            if not group.broadcast:
                brokers.check_group(group.name, stream)
        pools = sorted({brokers.pool_of(stream) for stream in streams})
        # In several pools a group is one group a pool, of one name, each with a worker of its own.
        for pool in pools:
            part = [stream for stream in streams if brokers.pool_of(stream) == pool]
            workers.append(_worker(app, brokers, group, part, selection, gate))
    return workers


def _worker(
    app: "App", brokers: Brokers, group: Group, streams: Sequence[str], selection: Selection, gate: Gate
) -> Worker:
    broker = brokers.broker_for(streams[0])
    shared: dict[str, Any] = {
        "dependencies": app.dependencies,
        "streams": streams,
        "middleware": app.registry.middleware,
        "clock": app.clock,
        "observer": app.observer,
        "until_idle": selection.until_idle,
        "idle_exit": selection.idle_exit,
        "reconnect_attempts": app.settings.reconnect_attempts,
    }
    if group.broadcast or selection.ungrouped:
        return BroadcastWorker(broker, group, start=selection.start, cursor=selection.cursor, **shared)
    return GroupWorker(
        broker, group, consumer=selection.consumer, reclaim=selection.reclaim, gate=gate, **shared
    )


def _is_selected(group: Group, selection: Selection) -> bool:
    if selection.only and not ({group.name, f"group:{group.name}"} & set(selection.only)):
        return False
    return bool(_streams(group, selection)) if selection.events else True


def _streams(group: Group, selection: Selection) -> tuple[str, ...]:
    if not selection.events:
        return group.streams
    wanted: set[str] = set()
    for listener in group.listeners:
        for each in listener.events:
            if is_event(each):
                declared = event_type(each)
                if declared.name in selection.events or declared.stream in selection.events:
                    wanted.add(declared.stream)
            elif each in selection.events:
                wanted.add(str(each))
    wanted |= set(group.declared_streams) & set(selection.events)
    return tuple(sorted(wanted))


def _check_selection(app: "App", selection: Selection) -> None:
    known = {name for group in app.registry for name in (group.name, f"group:{group.name}")}
    for wanted in selection.only:
        if wanted not in known:
            groups = ", ".join(sorted(app.registry.groups)) or "none"
            raise ConfigurationError(f"app {app.name!r} has no group {wanted!r} to run; it has {groups}")
