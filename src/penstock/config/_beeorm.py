"""The registry as BeeORM writes it in YAML: pools by name, each with its server and its streams. It loads as it stands.

```yaml
default:
    redis: localhost:6379:0
    streams:
        stream-a:
          - read-group-a
```

What else BeeORM keeps there (databases, local caches) is passed over. Our own settings may stand in the same file.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from penstock.config._files import FileContent, KeyPath
from penstock.config._model import DEFAULT_POOL
from penstock.config._saying import shown

__all__ = ["of_beeorm"]

_OF_BEEORM: Final = frozenset({"mysql", "mysqlEncoding", "local_cache"})
"""What BeeORM keeps in a pool besides streams and their server."""
_TELLING: Final = _OF_BEEORM | {"redis", "sentinel", "streams"}
_ADDRESS: Final = re.compile(r"([^:/\s]+:[0-9]+|/[^:]*):([0-9]+)(?::([^:]*))?")
_MASTER: Final = re.compile(r"([^:/\s]+)(?::([0-9]+))?")


@dataclass
class _Translation:
    """Our tables in the making, and for each key of ours how the file spells it."""

    tables: dict[object, object]
    pools: dict[object, object] = field(default_factory=dict[object, object])
    spelled: dict[KeyPath, KeyPath] = field(default_factory=dict[KeyPath, KeyPath])
    problems: list[tuple[KeyPath, str]] = field(default_factory=list[tuple[KeyPath, str]])

    def put(self, path: KeyPath, value: object, written: KeyPath) -> None:
        """Say *value* for our key *path*, which the file spells *written*."""
        if len(path) == 1:
            if path[0] in self.tables:
                self.problems.append((written, f"it is set a second time as {path[0]}; keep one of them"))
                return
            self.tables[path[0]] = value
        else:
            cast("dict[object, object]", self.pools.setdefault(path[1], {}))[path[2]] = value
        self.spelled[path] = written


def of_beeorm(
    content: FileContent, is_ours: Callable[[object], bool]
) -> tuple[FileContent, list[tuple[KeyPath, str]]]:
    """A settings file with its pools in BeeORM's form turned into ours, and what is wrong with them.

    A table is such a pool if it is none of our settings (*is_ours*) and has what BeeORM keeps in one.
    """
    found = {
        str(name): cast("Mapping[object, object]", table)
        for name, table in content.tables.items()
        if not is_ours(name)
        and isinstance(table, Mapping)
        and _TELLING & {*cast("Mapping[object, object]", table)}
    }
    if not found:
        return content, []
    made = _Translation({name: value for name, value in content.tables.items() if str(name) not in found})
    for name, pool in found.items():
        _pool(made, name, pool)
    ours = made.tables.get("pools", {})
    if isinstance(ours, Mapping):
        for twice in made.pools.keys() & cast("Mapping[object, object]", ours).keys() - {DEFAULT_POOL}:
            made.problems.append(
                ((str(twice),), f"pool {twice!r} is set a second time under pools; keep one of them")
            )
        made.tables["pools"] = {**made.pools, **cast("Mapping[object, object]", ours)}
    spelled = made.spelled

    def lines() -> Mapping[KeyPath, int]:
        written = content.lines()
        ours = {
            (*path, *key[len(as_) :]): line
            for path, as_ in spelled.items()
            for key, line in written.items()
            if key[: len(as_)] == as_
        }
        return {**ours, **written}

    return FileContent(content.path, made.tables, lines, spelled), made.problems


def _pool(made: _Translation, name: str, pool: Mapping[object, object]) -> None:
    if not {"redis", "sentinel", "streams"} & {*pool}:
        return  # a database alone
    at: KeyPath = ("pools", name)
    made.pools.setdefault(name, {})
    made.spelled[at] = (name,)
    for key, value in pool.items():
        if key in ("redis", "sentinel"):
            _server(made, name, str(key), value)
        elif key not in _OF_BEEORM:
            made.put((*at, str(key)), value, (name, str(key)))


def _server(made: _Translation, name: str, key: str, value: object) -> None:
    written = (name, key)
    url, namespace = _address(value) if key == "redis" else (_sentinels(value), None)
    if url is None:
        form = "HOST:PORT:DATABASE" if key == "redis" else "{MASTER:DATABASE: [HOST:PORT, ...]}"
        made.problems.append((written, f"{shown(value)} is no address; write {form}"))
        url = "memory://"  # so that nothing else is said of the pool
    if name == DEFAULT_POOL:
        made.put(("streams",), url, written)
        if namespace is not None:
            made.put(("namespace",), namespace, written)
    else:
        made.put(("pools", name, "url"), url, written)
        made.put(("pools", name, "namespace"), namespace or "", written)


def _address(value: object) -> tuple[str | None, str | None]:
    """URL and namespace of ``host:port:database[:namespace]``, or of a socket's path in place of host and port."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None, None
    where, database, namespace = match.groups()
    url = f"unix://{where}?db={database}" if where.startswith("/") else f"redis://{where}/{database}"
    return url, namespace


def _sentinels(value: object) -> str | None:
    """The URL of ``{master[:database]: [host:port, ...]}``."""
    if not isinstance(value, Mapping) or len(cast("Mapping[object, object]", value)) != 1:
        return None
    [(master, hosts)] = cast("Mapping[object, object]", value).items()
    match = _MASTER.fullmatch(str(master))
    if match is None or not isinstance(hosts, list) or not hosts:
        return None
    return f"redis+sentinel://{','.join(_texts(cast('list[object]', hosts)))}/{match[1]}/{match[2] or 0}"


def _texts(values: list[object]) -> Iterator[str]:
    return (str(each) for each in values)
