"""How names, lists of names, and what hangs on names are read. What a reader is: see `penstock.config._readers`."""

from collections.abc import Mapping
from typing import Any, cast

from penstock.config._model import ListenerSettings
from penstock.config._readers import Reader, or_none, reference, text
from penstock.config._saying import nearest, shown
from penstock.errors import ConfigurationError, UsageError
from penstock.listeners.groups import Group
from penstock.listeners.settings import GroupSettings
from penstock.streams.keys import Keys

__all__ = [
    "group_name",
    "listeners",
    "pool_streams",
    "store_name",
    "store_url",
    "stream_groups",
    "stream_name",
    "texts",
]

_DATABASES = ("sqlite", "postgresql", "postgres")


def stream_name(value: object, loose: bool) -> str:
    """The name of a stream."""
    Keys().stream(found := text(value, loose))
    return found


def group_name(value: object, loose: bool) -> str:
    """The name of a consumer group."""
    try:
        return Group(text(value, loose), GroupSettings()).name
    except ConfigurationError as error:
        raise UsageError(str(error)) from None


def store_url(value: object, loose: bool) -> str:
    """The URL of a store's database."""
    found = text(value, loose).strip()
    scheme, _, rest = found.partition("://")
    if scheme.partition("+")[0].lower() not in _DATABASES or not rest:
        raise UsageError(
            f"{shown(found)} is no URL of a store; write sqlite:///shop.db or postgresql://HOST/NAME"
        )
    if scheme == "sqlite" and (not rest.startswith("/") or rest in ("/", "/:memory:")):
        raise UsageError(
            f"{shown(found)} names no file; write sqlite:///shop.db, or sqlite:////var/lib/shop.db"
        )
    return found


def store_name(value: object, loose: bool) -> str:
    """The name of a store."""
    found = text(value, loose)
    if not found.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{shown(found)} is no name of a store; letters, digits, '-' and '_' can be in one")
    if found == "streams":
        raise UsageError(
            "'streams' is what relays call the streams of the app, and no store; take another name"
        )
    return found


def texts(of: Reader, example: str) -> Reader:
    """A list, without repetition, of what *of* reads. Loose: separated by commas."""

    def read(value: object, loose: bool) -> tuple[object, ...]:
        items: list[Any]
        if loose and isinstance(value, str):
            items = [part.strip() for part in value.split(",")]
        elif isinstance(value, (list, tuple)):
            items = list(cast("list[object]", value))
        else:
            raise UsageError(f"{shown(value)} is no list; write {example}")
        found = tuple(of(item, loose) for item in items)
        if not found:
            raise UsageError(f"the list is empty; name at least one, as in {example}, or leave it out")
        for place, item in enumerate(found):
            if item in found[:place]:
                raise UsageError(f"{shown(item)} is in the list twice; name it once")
        return found

    return read


stream_groups = or_none("any", texts(group_name, '["billing", "mail"]'))
"""The groups of a stream; ``None``: any."""
_handler = reference("'module:function'", attribute=True)


def pool_streams(value: object, loose: bool) -> dict[str, tuple[str, ...] | None]:
    """The streams of a pool, any group for each. A table of streams with their groups is read name by name instead."""
    names = texts(stream_name, '["order.placed"]')(value, loose)
    return dict.fromkeys(cast("tuple[str, ...]", names))


def listeners(value: object, loose: bool) -> tuple[ListenerSettings, ...]:
    """The listeners of one event: ``"shop:charge"``, ``{handler = "shop:mail", group = "mail"}``, or a list of them."""
    if isinstance(value, Mapping) or (isinstance(value, str) and not loose):
        value = [cast("object", value)]
    read = texts(_listener, '["shop:charge", {handler = "shop:mail", group = "mail"}]')
    return cast("tuple[ListenerSettings, ...]", read(value, loose))


def _listener(value: object, loose: bool) -> ListenerSettings:
    if isinstance(value, ListenerSettings):
        return value
    if not isinstance(value, Mapping):
        return ListenerSettings(cast("str", _handler(value, loose)))
    table = cast("Mapping[object, object]", value)
    for key in table:
        if key not in ("handler", "group"):
            raise UsageError(
                f"{shown(key)} is nothing a listener has; {nearest(shown(key), ('handler', 'group'))}"
            )
    if "handler" not in table:
        raise UsageError("the handler is missing; add handler = 'module:function'")
    group = table.get("group")
    return ListenerSettings(
        cast("str", _of("handler", _handler, table["handler"], loose)),
        None if group is None else cast("str", _of("group", group_name, group, loose)),
    )


def _of(name: str, reader: Reader, value: object, loose: bool) -> object:
    try:
        return reader(value, loose)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
