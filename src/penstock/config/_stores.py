"""Event stores as settings name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.config._files import KeyPath
from penstock.config._layers import Problems, Said
from penstock.config._model import LOCAL_STORE, StoreSettings

__all__ = ["read_stores"]

_SQLITE: Final = "sqlite:///"


def read_stores(said: Mapping[KeyPath, Said], problems: Problems) -> dict[str, StoreSettings]:
    """What *said* says of stores, `local` first; paths are relative to where they are said."""
    named: dict[str, dict[str, Said]] = {LOCAL_STORE: {}}
    for path, each in said.items():
        if path[0] == "stores" and len(path) > 1:
            below = named.setdefault(path[1], {})
            if len(path) == 3:
                below[path[2]] = each
    if ("store",) in said and said["store",].value is not None:
        local = named[LOCAL_STORE]
        if "url" in local:
            reason = "the local store is set at the top of the settings, too (store = ...); keep one of them"
            problems.add(local["url"].where, local["url"].path, reason)
        local["url"] = said["store",]
    stores: dict[str, StoreSettings] = {}
    for name, keys in named.items():
        if "url" not in keys and name != LOCAL_STORE:
            path = ("stores", name)
            if (*path, "url") not in problems.keys:
                problems.add(
                    said[path].where, path, "the store has no database; add url = 'postgresql://HOST/NAME'"
                )
            continue
        values: dict[str, Any] = {key: each.value for key, each in keys.items()}
        if "url" in keys:
            values["url"] = _absolute(str(values["url"]), keys["url"].source.base)
        stores[name] = StoreSettings(name, **values)
    return stores


def _absolute(url: str, base: Path) -> str:
    return f"{_SQLITE}{base / url.removeprefix(_SQLITE)}" if url.startswith(_SQLITE) else url
