"""Every setting there is: its name, how its value is read, what holds when nothing is said.

Reading, the variables of the environment, `describe` and the reference page all follow this one table. What a group can
be set to is not listed here but taken from `GroupSettings` and `Retry`, which also check each value themselves.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from penstock.config import _names as names
from penstock.config import _readers as read
from penstock.config import _relays as relays
from penstock.config._model import DEFAULT_POOL
from penstock.config._readers import Reader
from penstock.config._retention import retention
from penstock.listeners.settings import GroupSettings
from penstock.position import Start
from penstock.retry import Retry
from penstock.streams.layouts import NATIVE

__all__ = [
    "ARCHIVE",
    "CONSUMING",
    "GROUP",
    "POOL",
    "PRODUCING",
    "RELAY",
    "RETRY",
    "ROOT",
    "STORE",
    "STREAM",
    "Key",
    "Named",
    "Node",
    "Section",
]


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    reader: Reader
    default: object = None
    none: str | None = None
    """The word that stands for ``None`` in files and variables."""
    by_name: "Named | None" = None
    """How a table is read that may stand here in place of the value, so that each of its mistakes is told."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table whose keys are known."""

    keys: Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class Named:
    """A table whose keys are names that the user chooses."""

    what: str
    """What it is that has the name."""
    name: Reader
    of: Section | Key


Node: TypeAlias = Key | Section | Named


def _optional(word: str, reader: Reader) -> Key:
    return Key(read.or_none(word, reader), None, word)


def _of_fields(kind: type[Any], *, without: tuple[str, ...]) -> dict[str, Node]:
    """A setting for each field of *kind*, read by its type and then checked by *kind*."""
    hints = get_type_hints(kind)
    return {
        each.name: Key(_checked(kind, each.name, _by_type(each.name, hints[each.name])), each.default)
        for each in fields(kind)
        if each.name not in without and each.default is not MISSING
    }


def _by_type(name: str, hint: Any) -> Reader:
    if name == "byte_budget":
        return read.size
    if get_origin(hint) is Literal:
        return read.one_of(*get_args(hint))
    if hint in (timedelta, timedelta | str):
        return read.duration
    simple: dict[Any, Reader] = {
        int: read.count,
        float: read.number,
        bool: read.flag,
        str: read.text,
        Start: read.start,
    }
    return simple[hint]


def _checked(kind: type[Any], name: str, reader: Reader) -> Reader:
    def read_and_check(value: object, loose: bool) -> object:
        found = reader(value, loose)
        kind(**{name: found})
        return found

    return read_and_check


POOL = Section(
    {
        "url": Key(read.url),
        "namespace": Key(read.namespace),
        "streams": Key(
            names.pool_streams, by_name=Named("stream", names.stream_name, Key(names.stream_groups))
        ),
    }
)
STREAM = Section(
    {
        "pool": Key(read.text, DEFAULT_POOL),
        "groups": _optional("any", names.texts(names.group_name, '["billing", "mail"]')),
        "max_entries": _optional("unlimited", read.count),
        "max_age": _optional("unlimited", read.duration),
        "remove_needed": Key(read.flag, False),
        "layout": Key(read.text, NATIVE.name),
        "key_from": _optional("none", read.text),
        "retention": _optional("none", retention),
        "history": Key(read.flag, False),
        "partitions": _optional("none", read.partitions),
        "routed_from": _optional("none", names.stream_name),
    }
)
# Which errors are hopeless is said by classes, which only code can name.
RETRY = Section(_of_fields(Retry, without=("hopeless",)))
GROUP = Section(
    {
        "streams": Key(names.texts(names.stream_name, '["order.placed"]')),
        **_of_fields(GroupSettings, without=("retry",)),
        "retry": RETRY,
    }
)
ARCHIVE = Section({"driver": Key(read.text), "url": Key(read.text)})
STORE = Section(
    {
        "url": Key(names.store_url),
        "poll": Key(read.duration),
        "listen_url": Key(names.store_url),
        "schema": Key(read.text),
    }
)
RELAY = Section(
    {
        "source": Key(read.text, "local"),
        "target": Key(read.text, "streams"),
        "events": _optional("all", names.texts(read.text, '["order.placed"]')),
        "streams": Key(names.texts(read.text, '["order-17"]')),
        "categories": Key(names.texts(read.text, '["order"]')),
        "to": Key(read.text),
        "rename": Key(relays.renamed),
        "mode": Key(read.one_of("background", "on_demand"), "background"),
        "on_failure": Key(read.one_of("halt", "retry", "park", "skip"), "halt"),
        "retry": RETRY,
        "page": Key(read.count, 1000),
        "keep": _optional("forever", read.duration),
        "archive": Key(read.flag, False),
    }
)
CONSUMING = Section(
    {
        "stream_name": Key(read.text),
        "stream_names": Key(names.texts(read.text, '["orders-stream"]')),
        "categories": Key(names.texts(read.text, '["order"]')),
        "environment": Key(read.one_of("local", "shared")),
        "store": Key(names.store_name),
        "into": Key(names.store_name, "local"),
        "handler": Key(read.reference("'module:Class'", attribute=True)),
        "version": Key(read.count, 1),
        "background_process": Key(read.flag, True),
        "mode": Key(read.one_of("background", "on_demand"), "background"),
        "on_failure": Key(read.one_of("halt", "retry", "park", "skip"), "halt"),
        "retry": RETRY,
        "page": Key(read.count, 1000),
    }
)
PRODUCING = Section(
    {
        "stream_name": Key(read.text),
        "stream_names": Key(names.texts(read.text, '["orders-stream"]')),
        "target": Key(names.store_name, "shared"),
        "background_process": Key(read.flag, True),
        "mode": Key(read.one_of("background", "on_demand"), "background"),
        "on_failure": Key(read.one_of("halt", "retry", "park", "skip"), "halt"),
        "retry": RETRY,
        "page": Key(read.count, 1000),
    }
)
ROOT = Section(
    {
        "config": Key(read.path),
        "app": Key(read.reference("'module' or 'module:name'", attribute=False)),
        "streams": _optional("embedded", read.url),
        "store": _optional("embedded", names.store_url),
        "namespace": Key(read.namespace, ""),
        "strict": Key(read.flag, False),
        "data_folder": Key(read.path),
        "durability": Key(read.one_of("everysec", "always"), "everysec"),
        "max_body": Key(read.size, 1024 * 1024),
        "source": Key(read.text),
        "reconnect_attempts": _optional("endless", read.count_or_zero),
        "inbox_retention": Key(read.duration, timedelta(days=14)),
        "housekeeping": Key(read.flag, True),
        "log_level": Key(read.one_of("debug", "info", "warning", "error", "critical"), "info"),
        "pools": Named("pool", read.text, POOL),
        "stream": Named("stream", names.stream_name, STREAM),
        "groups": Named("consumer group", names.group_name, GROUP),
        "listeners": Named("event", read.text, Key(names.listeners)),
        "archive": ARCHIVE,
        "stores": Named("store", names.store_name, STORE),
        "projections": Section(
            {
                "consuming": Named("projection", read.text, CONSUMING),
                "producing": Named("projection", read.text, PRODUCING),
            }
        ),
        "relays": Named("relay", read.text, RELAY),
    }
)
