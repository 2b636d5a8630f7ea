"""Settings in force, as people read them: every value, where it came from, and no password."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

from penstock.clock import format_duration
from penstock.config._layers import dotted
from penstock.config._model import ListenerSettings, Settings
from penstock.config._retention import written_retention
from penstock.config._saying import mask
from penstock.config._schema import (
    ARCHIVE,
    CONSUMING,
    GROUP,
    POOL,
    PRODUCING,
    RELAY,
    RETRY,
    ROOT,
    STORE,
    STREAM,
    Key,
    Section,
)
from penstock.position import EntryId, StartPoint
from penstock.streams.collector import Retention

__all__ = ["Setting", "describe"]


class Setting(NamedTuple):
    """One value in force."""

    key: str
    """Dotted, as in ``groups.billing.concurrency``."""
    value: object
    """As a settings file would say it, a password replaced by ``***``; ``None`` where nothing holds."""
    origin: str
    """As in `Settings.origins`."""


def describe(settings: Settings) -> list[Setting]:
    """Every value in force with its origin, in the order of the reference page; passwords are masked."""
    return [_setting(path, value, settings.origins) for path, value in _values(settings)]


def _values(settings: Settings) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, key in ROOT.keys.items():
        if isinstance(key, Key):
            yield (name,), settings.file if name == "config" else _worded(key, getattr(settings, name))
    for name, pool in settings.pools.items():
        said = {
            "url": pool.url,
            "namespace": settings.namespace if pool.namespace is None else pool.namespace,
        }
        yield from _section(("pools", name), POOL, said, tuple(said))
    for name, stream in settings.stream_settings.items():
        limits = {key: getattr(stream, key) for key in STREAM.keys}
        yield from _section(("stream", name), STREAM, limits, tuple(limits))
    for name, group in settings.groups.items():
        yield from _section(("groups", name), GROUP, group, tuple(GROUP.keys))
        retry = cast("Mapping[str, object]", group.get("retry", {}))
        yield from _section(("groups", name, "retry"), RETRY, retry, tuple(RETRY.keys))
    for event, listeners in settings.listeners.items():
        yield ("listeners", event), listeners
    archive = {"driver": settings.archive.driver, "url": settings.archive.url}
    yield from _section(("archive",), ARCHIVE, archive, tuple(archive))
    for name, store in settings.stores.items():
        said = {key: getattr(store, key) for key in STORE.keys}
        yield from _section(("stores", name), STORE, said, tuple(said))
    for kind, section, declared in (
        ("consuming", CONSUMING, settings.consuming),
        ("producing", PRODUCING, settings.producing),
    ):
        for name, projection in declared.items():
            yield from _projection(("projections", kind, name), section, projection.said)
    for name, relay in settings.relays.items():
        if name in settings.producing:
            continue
        yield from _section(("relays", name), RELAY, relay, tuple(RELAY.keys))
        retry = cast("Mapping[str, object]", relay.get("retry", {}))
        yield from _section(("relays", name, "retry"), RETRY, retry, tuple(RETRY.keys))


_ONLY_SAID = ("stream_name", "stream_names", "categories", "environment", "store", "background_process")
"""Of a projection, what has another word beside it."""


def _projection(
    path: tuple[str, ...], section: Section, said: Mapping[str, object]
) -> Iterator[tuple[tuple[str, ...], object]]:
    unsaid = {key for key in _ONLY_SAID if key not in said}
    if "background_process" in said:
        unsaid.add("mode")
    yield from _section(path, section, said, tuple(key for key in section.keys if key not in unsaid))
    yield from _section(
        (*path, "retry"), RETRY, cast("Mapping[str, object]", said.get("retry", {})), tuple(RETRY.keys)
    )


def _section(
    path: tuple[str, ...], section: Section, said: Mapping[str, object], keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object]]:
    for name in keys:
        key = section.keys[name]
        if isinstance(key, Key):
            yield (*path, name), _worded(key, said.get(name, key.default))


def _worded(key: Key, value: object) -> object:
    return key.none if value is None else value


def _setting(path: tuple[str, ...], value: object, origins: Mapping[str, str]) -> Setting:
    written, key = _written(value), dotted(path)
    return Setting(key, mask(written) if isinstance(written, str) else written, origins.get(key, "default"))


def _written(value: object) -> object:
    match value:
        case timedelta():
            return format_duration(value)
        case datetime():
            return value.isoformat()
        case StartPoint():
            return value.value
        case Path() | EntryId():
            return str(value)
        case ListenerSettings(handler, None):
            return handler
        case ListenerSettings(handler, group):
            return {"handler": handler, "group": group}
        case Retention():
            return written_retention(value)
        case tuple():
            return [_written(each) for each in cast("tuple[object, ...]", value)]
        case _:
            return value
