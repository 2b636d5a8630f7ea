"""What settings are once they have been read: frozen values, in the types that the rest of penstock works with."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

from penstock.listeners.patterns import is_pattern
from penstock.position import parse_start
from penstock.retry import Retry
from penstock.streams.collector import Retention

__all__ = [
    "DEFAULT_POOL",
    "LOCAL_STORE",
    "ArchiveSettings",
    "ListenerSettings",
    "PoolSettings",
    "ProjectionSettings",
    "Settings",
    "StoreSettings",
    "StreamSettings",
]

DEFAULT_POOL = "default"
"""The pool of every stream that names no other; its URL is the setting ``streams``."""


LOCAL_STORE = "local"
"""The event store of a service's own; its URL is the setting ``store``."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One event store."""

    name: str
    url: str | None = field(default=None, repr=False)  # it may hold a password
    """``None``: a SQLite file in the data folder."""
    poll: timedelta | None = None
    """How often PostgreSQL is looked at for what nobody rang for; ``None``: as the backend has it."""
    listen_url: str | None = field(default=None, repr=False)
    """Where PostgreSQL is listened to when `url` leads through a pooler of transactions."""
    schema: str | None = None
    """The schema of PostgreSQL that the tables are in; ``None``: the connection's own."""


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """A projection that settings declare."""

    said: Mapping[str, Any]
    """What is said of it, and only that, by the names of the settings."""
    options: Mapping[str, Any]
    """The same as keyword arguments for ``App.projection`` or ``App.relay``, `retry` as a table."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A server beside the default one."""

    name: str
    url: str = field(repr=False)  # it may hold a password
    namespace: str | None = None
    """``None``: the namespace of the app."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """One declared stream: where it lives, who may consume it, how large it may grow."""

    name: str
    pool: str = DEFAULT_POOL
    groups: tuple[str, ...] | None = None
    """The consumer groups it has; ``None``: any."""
    max_entries: int | None = None
    max_age: timedelta | None = None
    remove_needed: bool = False
    layout: str = "penstock"
    """The name of the layout of its entries."""
    key_from: str | None = None
    """Where the key of an entry is that carries none: a header, or a dotted path of the body; ``None``: nowhere."""
    retention: Retention | None = None
    """What the collector lets go; ``None``: nothing."""
    history: bool = False
    """Whether all of its events are indexed by key, so that the history of one entity can be read."""
    partitions: int | None = None
    """How many streams it is, divided by key; ``None``: one, without partitions."""
    routed_from: str | None = None
    """The stream of others whose entries a router moves into this one's partitions."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """A listener that settings declare."""

    handler: str
    """``module:function``, or ``module:Class`` whose methods are marked with `on`."""
    group: str | None = None
    """``None``: the group named like the app."""


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Where messages are archived."""

    driver: str | None = None
    """``None``: there is no archive."""
    url: str | None = field(default=None, repr=False)  # it may hold a password
    """``None``: in the data folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, and where each value came from. Made by `load_settings`, which checks it."""

    streams: str | None = field(default=None, repr=False)  # it may hold a password
    """The URL of the default pool; ``None``: a server of its own in `data_folder`."""
    namespace: str = ""
    strict: bool = False
    data_folder: Path = Path(".penstock")
    """Absolute once loaded."""
    durability: Literal["everysec", "always"] = "everysec"
    max_body: int = 1024 * 1024
    """In bytes."""
    source: str | None = None
    reconnect_attempts: int | None = None
    """``None``: without end."""
    inbox_retention: timedelta = timedelta(days=14)
    """How long the ids of handled events are kept in the inboxes of listeners with a store."""
    housekeeping: bool = True
    """Whether workers collect, and do what else keeps a house in order, beside their work."""
    app: str | None = None
    log_level: str = "info"
    pools: Mapping[str, PoolSettings] = field(default_factory=dict[str, PoolSettings])
    """The pools beside the default one."""
    stream_settings: Mapping[str, StreamSettings] = field(default_factory=dict[str, StreamSettings])
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    """What is set for each group, and only that; `group_settings` makes keyword arguments of it."""
    listeners: Mapping[str, tuple[ListenerSettings, ...]] = field(
        default_factory=dict[str, tuple[ListenerSettings, ...]]
    )
    """By event name."""
    archive: ArchiveSettings = ArchiveSettings()
    store: str | None = field(default=None, repr=False)  # it may hold a password
    """The URL of the local store as it was said; `stores` has it with its path made absolute."""
    stores: Mapping[str, StoreSettings] = field(default_factory=dict[str, StoreSettings])
    consuming: Mapping[str, ProjectionSettings] = field(default_factory=dict[str, ProjectionSettings])
    """The projections with a handler."""
    producing: Mapping[str, ProjectionSettings] = field(default_factory=dict[str, ProjectionSettings])
    """Those that relay to a shared store; they are among `relays` as well."""
    relays: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """What is set for each relay, and only that: keyword arguments for ``App.relay``."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Dotted key -> ``default``, ``code``, a file's name, ``environment PENSTOCK_...`` or ``command line``."""
    file: Path | None = None
    """The settings file that was read."""

    @property
    def partitions(self) -> dict[str, int]:
        """The streams that are declared with partitions, and with how many."""
        return {
            name: each.partitions
            for name, each in self.stream_settings.items()
            if each.partitions is not None
        }

    def stream_groups(self) -> Iterator[tuple[str, str]]:
        """Streams that the settings name, each with every group that they name for it, in pairs."""
        for stream, declared in self.stream_settings.items():
            yield from ((stream, group) for group in declared.groups or ())
        for group in self.groups:
            listed = self.group_settings(group).get("streams", ())
            yield from ((stream, group) for stream in listed if not is_pattern(stream))

    def group_settings(self, name: str) -> dict[str, Any]:
        """What is set for the group, as keyword arguments for ``App.group``; empty if there is nothing.

        Raises `UsageError` for values that did not come from `load_settings`.
        """
        said = dict(self.groups.get(name, {}))
        if "streams" in said:
            said["streams"] = tuple(cast("Iterable[str]", said["streams"]))
        if isinstance(start := said.get("start"), str):
            said["start"] = parse_start(start)
        if isinstance(retry := said.get("retry"), Mapping):
            said["retry"] = Retry(**cast("Mapping[str, Any]", retry))
        return said
