"""Relays as settings name them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from penstock.config._readers import text
from penstock.config._saying import shown
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.config._files import KeyPath
    from penstock.config._layers import Said

__all__ = ["read_relays", "renamed"]


def read_relays(said: "Mapping[KeyPath, Said]") -> dict[str, dict[str, Any]]:
    """What *said* says of each relay: keyword arguments for ``App.relay``, and only those that are said."""
    relays: dict[str, dict[str, Any]] = {}
    for path, each in said.items():
        match path:
            case ("relays", name):
                relays.setdefault(name, {})
            case ("relays", name, "retry", key):
                relays.setdefault(name, {}).setdefault("retry", {})[key] = each.value
            case ("relays", name, key) if not (key == "retry" and each.is_table):
                relays.setdefault(name, {})[key] = each.value
            case _:
                pass
    return relays


def renamed(value: object, loose: bool) -> dict[str, str]:
    """New names by old ones. Loose: ``old=new`` pairs, separated by commas."""
    table: dict[object, object]
    if loose and isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        table = {old.strip(): new.strip() for old, _, new in pairs}
    elif isinstance(value, Mapping):
        table = dict(cast("Mapping[object, object]", value))
    else:
        raise UsageError(
            f'{shown(value)} is no table of names; write {{"order.placed" = "shop.order.placed"}}'
        )
    return {text(old, False): text(new, False) for old, new in table.items()}
