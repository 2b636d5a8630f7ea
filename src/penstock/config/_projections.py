"""Projections as settings name them: consuming ones, with a handler, and producing ones, which are relays."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from penstock.config._model import ProjectionSettings
from penstock.config._saying import nearest

if TYPE_CHECKING:
    from penstock.config._files import KeyPath
    from penstock.config._layers import Problems, Said

__all__ = ["read_consuming", "read_producing"]

_TABLE = "projections"


def read_consuming(
    said: "Mapping[KeyPath, Said]", problems: "Problems", *, stores: Collection[str]
) -> dict[str, ProjectionSettings]:
    """The projections that *said* gives a handler; what contradicts itself goes to *problems*."""
    found: dict[str, ProjectionSettings] = {}
    for name, keys in _named(said, "consuming").items():
        path = (_TABLE, "consuming", name)
        options = _common(path, keys, said, problems)
        if keys.keys() >= {"environment", "store"}:
            _wrong(
                problems, keys["store"], "environment and store both say which store is read; leave one out"
            )
        elif "environment" not in keys and "store" not in keys:
            _missing(
                problems,
                said,
                path,
                ("environment", "store"),
                "which store it reads",
                "environment = 'local'",
            )
        source = keys.get("environment") or keys.get("store")
        if source is not None:
            options["store"] = source.value
            _check_store(problems, source, stores)
        if "into" in keys:
            options["into"] = keys["into"].value
            _check_store(problems, keys["into"], stores)
        for key in ("version", "categories"):
            if key in keys:
                options[key] = keys[key].value
        if "handler" not in keys:
            _missing(
                problems, said, path, ("handler",), "what handles its events", "handler = 'module:Class'"
            )
            continue
        if name in _named(said, "producing"):
            _wrong(
                problems, said[path], "a producing projection has this name as well; give one of them another"
            )
        found[name] = ProjectionSettings(_values(keys, options), options)
    return found


def read_producing(
    said: "Mapping[KeyPath, Said]", problems: "Problems", *, stores: Collection[str]
) -> dict[str, ProjectionSettings]:
    """The producing projections: relays from the local store to the shared one."""
    found: dict[str, ProjectionSettings] = {}
    for name, keys in _named(said, "producing").items():
        path = (_TABLE, "producing", name)
        options = _common(path, keys, said, problems)
        options["source"] = "local"
        options["target"] = keys["target"].value if "target" in keys else "shared"
        if "target" in keys:
            _check_store(problems, keys["target"], stores)
            if keys["target"].value == "local":
                _wrong(
                    problems,
                    keys["target"],
                    "it produces from the local store, so not into that; name another",
                )
        elif "shared" not in stores:
            _wrong(problems, said[path], _no_store("shared", stores))
        if ("relays", name) in said:
            _wrong(problems, said[path], "a relay has this name as well; give one of them another")
        found[name] = ProjectionSettings(_values(keys, options), options)
    return found


def _named(said: "Mapping[KeyPath, Said]", kind: str) -> "dict[str, dict[str, Said]]":
    found: dict[str, dict[str, Said]] = {}
    for path, each in said.items():
        if path[:2] == (_TABLE, kind) and len(path) > 2:
            below = found.setdefault(path[2], {})
            if len(path) == 4 and not each.is_table:
                below[path[3]] = each
    return found


def _values(keys: "Mapping[str, Said]", options: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: each.value for key, each in keys.items()}
    return {**said, "retry": options["retry"]} if "retry" in options else said


def _common(
    path: "KeyPath", keys: "Mapping[str, Said]", said: "Mapping[KeyPath, Said]", problems: "Problems"
) -> dict[str, Any]:
    """What both kinds have: streams, mode, policy."""
    options: dict[str, Any] = {}
    if keys.keys() >= {"stream_name", "stream_names"}:
        _wrong(
            problems, keys["stream_name"], "stream_name and stream_names are both there; keep stream_names"
        )
    elif "stream_name" in keys:
        options["streams"] = (keys["stream_name"].value,)
    elif "stream_names" in keys:
        options["streams"] = keys["stream_names"].value
    elif "categories" not in keys:
        _missing(
            problems, said, path, ("stream_name", "stream_names"), "what it follows", "stream_name = 'orders'"
        )
    if keys.keys() >= {"background_process", "mode"}:
        _wrong(problems, keys["background_process"], "mode says the same; leave background_process out")
    elif "background_process" in keys:
        options["mode"] = "background" if keys["background_process"].value else "on_demand"
    for key in ("mode", "on_failure", "page"):
        if key in keys:
            options[key] = keys[key].value
    retry = {
        place[4]: each.value
        for place, each in said.items()
        if place[:4] == (*path, "retry") and len(place) == 5
    }
    if retry:
        options["retry"] = retry
    return options


def _check_store(problems: "Problems", said: "Said", stores: Collection[str]) -> None:
    if said.value not in stores:
        _wrong(problems, said, _no_store(str(said.value), stores))


def _no_store(name: str, stores: Collection[str]) -> str:
    near = f"; {nearest(name, stores)}" if name not in ("local", "shared") else ""
    return f"there is no store {name!r}{near}; configure it: [stores.{name}] url = 'postgresql://HOST/NAME'"


def _missing(
    problems: "Problems",
    said: "Mapping[KeyPath, Said]",
    path: "KeyPath",
    keys: tuple[str, ...],
    what: str,
    example: str,
) -> None:
    """Nothing says *what*; where one of *keys* was said and could not be read, that is told already."""
    if not any((*path, key) in problems.keys for key in keys):
        problems.add(said[path].where, path, f"the projection does not say {what}; add {example}")


def _wrong(problems: "Problems", said: "Said", reason: str) -> None:
    problems.add(said.where, said.path, reason)
