"""Pools, streams, groups and listeners as settings declare them, and what is wrong between them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from penstock.config._files import KeyPath
from penstock.config._layers import Problems, Said
from penstock.config._model import DEFAULT_POOL, ListenerSettings, PoolSettings, StreamSettings
from penstock.config._saying import nearest
from penstock.listeners.patterns import is_pattern
from penstock.streams.layouts import LAYOUTS

__all__ = ["Declared", "read_declared"]


@dataclass(frozen=True, slots=True)
class Declared:
    """Everything that has a name in settings."""

    pools: dict[str, PoolSettings]
    streams: dict[str, StreamSettings]
    groups: dict[str, dict[str, object]]
    listeners: dict[str, tuple[ListenerSettings, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """One source's word that a stream is in a pool."""

    stream: str
    pool: str
    groups: tuple[str, ...] | None
    said: Said

    @property
    def where(self) -> str:
        """The place, for messages; in the list of a pool, that of the stream."""
        in_list = self.said.path[0] == "pools"
        return self.said.source.where((*self.said.path, self.stream) if in_list else self.said.path)


def read_declared(
    said: Mapping[KeyPath, Said], problems: Problems, *, strict: bool, layouts: Collection[str] | None = None
) -> Declared:
    """What *said* declares; whatever contradicts something else goes to *problems*.

    *layouts* are those that code declares; ``None``: the code is not known, and may declare any.
    """
    declared = Declared(
        pools=_pools(said, problems),
        streams=_streams(said, problems),
        groups=_groups(said),
        listeners={
            path[1]: cast("tuple[ListenerSettings, ...]", each.value)
            for path, each in said.items()
            if path[0] == "listeners" and len(path) == 2
        },
    )
    _check_routes(said, problems)
    if layouts is not None:
        _check_layouts(said, {*LAYOUTS, *layouts}, problems)
    _check_routed_layouts(declared.streams, said, problems)
    listed = (name for stream in declared.streams.values() for name in stream.groups or ())
    for group in dict.fromkeys((*declared.groups, *listed)):
        _check_group(group, declared, said, problems, strict=strict)
    return declared


def _named(said: Mapping[KeyPath, Said], table: str) -> dict[str, dict[str, Said]]:
    """What is said under each name of a table, by the key below the name."""
    found: dict[str, dict[str, Said]] = {}
    for path, each in said.items():
        if path[0] == table and len(path) > 1:
            below = found.setdefault(path[1], {})
            if len(path) == 3:
                below[path[2]] = each
    return found


def _pools(said: Mapping[KeyPath, Said], problems: Problems) -> dict[str, PoolSettings]:
    pools: dict[str, PoolSettings] = {}
    for name, keys in _named(said, "pools").items():
        if name == DEFAULT_POOL:
            for key in keys.keys() & {"url", "namespace"}:
                own = {"url": "streams"}.get(key, key)
                reason = f"the default pool is set at the top of the settings; write it there as {own}"
                problems.add(keys[key].where, keys[key].path, reason)
        elif "url" in keys:
            namespace = keys["namespace"].value if "namespace" in keys else None
            pools[name] = PoolSettings(name, str(keys["url"].value), cast("str | None", namespace))
        elif ("pools", name, "url") not in problems.keys:
            where = said["pools", name].where
            problems.add(where, ("pools", name), "the pool has no server; add url = 'redis://HOST:6379'")
    return pools


def _places(said: Mapping[KeyPath, Said]) -> Iterator[tuple[str, _Place]]:
    for pool, keys in _named(said, "pools").items():
        if "streams" in keys:
            listed = cast("dict[str, tuple[str, ...] | None]", keys["streams"].value)
            for stream, groups in listed.items():
                yield stream, _Place(stream, pool, groups, keys["streams"])
    for stream, keys in _named(said, "stream").items():
        if "pool" in keys:
            yield stream, _Place(stream, str(keys["pool"].value), None, keys["pool"])


def _mistaken(said: Mapping[KeyPath, Said], problems: Problems) -> Iterator[tuple[str, _Place]]:
    """Streams in the lists of pools whose own groups cannot be read: they are declared all the same."""
    for path in problems.keys:
        if path[0] == "pools" and path[2:3] == ("streams",) and len(path) == 4 and path[:3] in said:
            yield path[3], _Place(path[3], path[1], None, said[path[:3]])


def _streams(said: Mapping[KeyPath, Said], problems: Problems) -> dict[str, StreamSettings]:
    declared = _named(said, "stream")
    places: dict[str, list[_Place]] = {name: [] for name in declared}
    for name, place in (*_places(said), *_mistaken(said, problems)):
        places.setdefault(name, []).append(place)
    streams: dict[str, StreamSettings] = {}
    for name, found in places.items():
        values: dict[str, Any] = {key: each.value for key, each in declared.get(name, {}).items()}
        in_several = len({place.pool for place in found}) > 1
        for place in found:
            _check_pool(name, place, said, problems)
            if place.groups is not None:
                if not in_several and "groups" in values and set(values["groups"] or ()) != set(place.groups):
                    reason = f"the groups of stream {name!r} are listed twice; keep one of the lists"
                    problems.add(place.where, place.said.path, reason)
                values["groups"] = place.groups
        if in_several:
            both = ", ".join(f"{place.pool!r} ({place.where})" for place in found)
            reason = (
                f"stream {name!r} is declared in more than one pool: {both}; a stream lives in one, keep that"
            )
            problems.add(found[-1].where, found[-1].said.path, reason)
        if found:
            values["pool"] = found[0].pool
        streams[name] = StreamSettings(name, **values)
    return streams


def _check_pool(stream: str, place: _Place, said: Mapping[KeyPath, Said], problems: Problems) -> None:
    known = {
        DEFAULT_POOL,
        *_named(said, "pools"),
        *(path[1] for path in problems.keys if path[0] == "pools" and path[1:]),
    }
    if place.pool not in known:
        reason = f"stream {stream!r} is in pool {place.pool!r}, which is declared nowhere; {nearest(place.pool, known)}"
        problems.add(place.where, place.said.path, reason)


def _check_routes(said: Mapping[KeyPath, Said], problems: Problems) -> None:
    routes: dict[object, str] = {}
    for path, each in said.items():
        if path[0] != "stream" or path[2:] != ("routed_from",) or each.value is None:
            continue
        divided = said.get((*path[:2], "partitions"))
        if divided is None or divided.value is None:
            problems.add(
                each.where, path, "only a stream with partitions can be routed into; set partitions, too"
            )
        elif (other := routes.setdefault(each.value, path[1])) != path[1]:
            reason = (
                f"stream {each.value!r} is routed into {other!r} already; one stream can be routed into one"
            )
            problems.add(each.where, path, reason)


def _check_layouts(said: Mapping[KeyPath, Said], known: Collection[str], problems: Problems) -> None:
    for path, each in said.items():
        if path[0] == "stream" and path[2:] == ("layout",) and each.value not in known:
            reason = f"there is no layout {each.value!r}; {nearest(str(each.value), known)}"
            problems.add(each.where, path, f"{reason}; one of your own is declared by app.layout(NAME, ...)")


def _check_routed_layouts(
    streams: Mapping[str, StreamSettings], said: Mapping[KeyPath, Said], problems: Problems
) -> None:
    for name, stream in streams.items():
        source, path = streams.get(stream.routed_from or ""), ("stream", name, "layout")
        if source is not None and path in said and source.layout != stream.layout:
            reason = (
                f"entries come from stream {source.name!r}, which has the layout {source.layout!r}, and are not "
                "written anew; leave this out"
            )
            problems.add(said[path].where, path, reason)


def _groups(said: Mapping[KeyPath, Said]) -> dict[str, dict[str, object]]:
    groups: dict[str, dict[str, object]] = {}
    for path, each in said.items():
        match path:
            case ("groups", name):
                groups.setdefault(name, {})
            case ("groups", name, key) if not each.is_table:
                groups.setdefault(name, {})[key] = each.value
            case ("groups", name, key, part):
                cast("dict[str, object]", groups.setdefault(name, {}).setdefault(key, {}))[part] = each.value
            case _:
                pass
    return groups


def _check_group(
    name: str, declared: Declared, said: Mapping[KeyPath, Said], problems: Problems, *, strict: bool
) -> None:
    reads = cast("tuple[str, ...]", declared.groups.get(name, {}).get("streams", ()))
    listed = [each.name for each in declared.streams.values() if name in (each.groups or ())]
    path, where = _where_declared(name, listed, said)
    for stream in (each for each in reads if not is_pattern(each)):
        known = declared.streams.get(stream)
        if known is None and strict:
            close = nearest(stream, declared.streams)
            reason = f"in strict mode stream {stream!r} has to be declared, and is not; {close}"
            problems.add(where, path, reason)
        elif known is not None and known.groups is not None and name not in known.groups:
            there = ", ".join(known.groups)
            reason = f"stream {stream!r} has the groups {there}, and not this one; add it there"
            problems.add(where, path, reason)


def _where_declared(group: str, listed: list[str], said: Mapping[KeyPath, Said]) -> tuple[KeyPath, str]:
    """The key, and its place, that best stands for what is said of a group's streams."""
    lists = [("stream", stream, "groups") for stream in listed]
    for path in (("groups", group, "streams"), ("groups", group), *lists):
        if path in said:
            return path, said[path].where
    # Nothing but the lists of pools is left that can have named the group.
    pools = (each for path, each in said.items() if path[0] == "pools" and path[2:] == ("streams",))
    found = next(each for each in pools if set(listed) & set(cast("Mapping[str, object]", each.value)))
    return found.path, found.where
