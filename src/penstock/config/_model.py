"""What settings are once they have been read: frozen values, in the types that the rest of penstock works with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

from penstock.position import parse_start
from penstock.retry import Retry
from penstock.streams.collector import Retention

__all__ = [
    "DEFAULT_POOL",
    "ArchiveSettings",
    "ListenerSettings",
    "PoolSettings",
    "Settings",
    "StreamSettings",
]

DEFAULT_POOL = "default"
"""The pool of every stream that names no other; its URL is the setting ``streams``."""


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
