"""One source of settings after another: what each says, key by key, checked against the table of all settings."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from penstock.config._files import FileContent, KeyPath, split_key
from penstock.config._saying import mask, nearest, shown
from penstock.config._schema import ROOT, Key, Named, Node, Section
from penstock.errors import UsageError

__all__ = [
    "Problems",
    "Said",
    "Source",
    "dotted",
    "from_code",
    "from_command_line",
    "from_environment",
    "from_file",
    "read_source",
]

VARIABLE_OF_FILE = "PENSTOCK_CONFIG"
"""The variable that names the settings file."""

_PREFIX = "PENSTOCK_"
_NOT_SETTINGS = frozenset({"PENSTOCK_SERVER", "PENSTOCK_SUPERVISOR_PIPE", "PENSTOCK_TORTURE"})
# Kubernetes gives every pod such variables for a service called penstock, or penstock-something.
_OF_KUBERNETES = re.compile(
    r"PENSTOCK_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass(slots=True)
class Problems:
    """What is wrong, and with which keys, so that nothing is said twice about one of them."""

    found: list[str] = field(default_factory=list[str])
    keys: set[KeyPath] = field(default_factory=set[KeyPath])

    def add(self, where: str, path: KeyPath, reason: object) -> None:
        """Something is wrong with the key *path*."""
        self.found.append(f"{where}: {dotted(map(mask, path))}: {reason}")
        self.keys.add(path)


@dataclass(frozen=True, slots=True)
class Source:
    """Somewhere that settings come from."""

    origin: str
    tables: Mapping[object, object]
    base: Path
    """What relative paths in it are relative to."""
    where: Callable[[KeyPath], str]
    """The place of a key, for messages."""
    loose: bool = False
    """Its texts stand for values of every type."""


@dataclass(frozen=True, slots=True)
class Said:
    """A value that a source gives for a key, or that it has a table there, which may be empty."""

    value: object
    source: Source
    path: KeyPath
    is_table: bool = False

    @property
    def where(self) -> str:
        """The place, for messages."""
        return self.source.where(self.path)


def dotted(path: Iterable[str]) -> str:
    """A key in one text; a part that is more than letters, digits and hyphens is quoted."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path)


# -- sources ----------------------------------------------------------------------------------------------------


def from_code(said: Mapping[str, object], base: Path) -> Source:
    """What the app's own module says; ``None`` there is nothing said."""
    tables: dict[object, object] = {key: value for key, value in said.items() if value is not None}
    return Source("code", tables, base, where=_always("code"))


def from_file(content: FileContent) -> Source:
    """What a settings file says."""
    lines: dict[KeyPath, int] = {}

    def where(path: KeyPath) -> str:
        if not lines:
            lines.update(content.lines())
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
        place = str(content.path) if line is None else f"{content.path}, line {line}"
        spelled = _as_spelled(content.spelled, path)
        return place if spelled is None else f"{place} ({dotted(spelled)})"

    return Source(content.path.name, content.tables, content.path.parent, where=where)


def _as_spelled(spelled: Mapping[KeyPath, KeyPath], path: KeyPath) -> KeyPath | None:
    """How the file spells *path*, where that is not as we do."""
    for end in range(len(path), 0, -1):
        if (begins := spelled.get(path[:end])) is not None:
            return (*begins, *path[end:])
    return None


def from_command_line(said: Mapping[str, object], base: Path, problems: Problems) -> Iterator[Source]:
    """What options say; a dotted key reaches into tables, and ``None`` is nothing said."""
    for key, value in said.items():
        if value is None:
            continue
        try:
            path = split_key(key) if "." in key else (key,)
        except ValueError:
            problems.add("command line", (key,), "this is no key; write one as in groups.billing.concurrency")
            continue
        yield Source("command line", _nested(path, value), base, loose=True, where=_always("command line"))


def from_environment(
    environ: Mapping[str, str], base: Path, names: Mapping[str, Iterable[str]], problems: Problems
) -> Iterator[Source]:
    """One source per variable that sets something; *names* are those that other sources use, by table.

    A variable cannot hold dots and hyphens: ``ORDER_PLACED`` in one is ``order.placed`` where that name is known.
    """
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or not environ[variable].strip():
            continue
        parts = variable.removeprefix(_PREFIX).split("__")
        if variable in _NOT_SETTINGS or (len(parts) == 1 and _OF_KUBERNETES.fullmatch(variable)):
            continue
        where = f"environment {variable.encode('ascii', 'backslashreplace').decode()}"
        path = tuple(part.lower() for part in parts)
        if len(parts) > 1 and isinstance(ROOT.keys.get(path[0]), Named):
            candidates = [
                name for name in names.get(path[0], ()) if _as_in_variable(name) == parts[1].upper()
            ]
            if len(candidates) > 1:
                choice = ", ".join(sorted(candidates))
                problems.add(where, path, f"this may be any of {choice}; set it in a file instead")
                continue
            path = (path[0], candidates[0] if candidates else path[1], *path[2:])
        yield Source(where, _nested(path, environ[variable]), base, loose=True, where=_always(where))


def _always(place: str) -> Callable[[KeyPath], str]:
    return lambda _: place


def _as_in_variable(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _nested(path: KeyPath, value: object) -> dict[object, object]:
    for part in reversed(path):
        value = {part: value}
    return cast("dict[object, object]", value)


# -- reading one ------------------------------------------------------------------------------------------------


def read_source(source: Source, problems: Problems) -> Iterator[Said]:
    """Everything that *source* says, in final types; what is wrong goes to *problems*."""
    return _section(ROOT, source.tables, source, (), problems)


def _node(node: Node, value: object, source: Source, path: KeyPath, problems: Problems) -> Iterator[Said]:
    if isinstance(node, Key) and node.by_name is not None and isinstance(value, Mapping):
        each_one = _named(node.by_name, cast("Mapping[object, object]", value), source, path, problems)
        yield Said({said.path[-1]: said.value for said in each_one}, source, path)
        return
    if isinstance(node, Key):
        try:
            yield Said(node.reader(value, source.loose), source, path)
        except UsageError as error:
            problems.add(source.where(path), path, _hint(path, value) or error)
        return
    if not isinstance(value, Mapping):
        problems.add(source.where(path), path, _hint(path, value) or _no_table(path, value))
        return
    table = cast("Mapping[object, object]", value)
    yield Said(None, source, path, is_table=True)
    if isinstance(node, Section):
        yield from _section(node, table, source, path, problems)
    else:
        yield from _named(node, table, source, path, problems)


def _section(
    section: Section, table: Mapping[object, object], source: Source, path: KeyPath, problems: Problems
) -> Iterator[Said]:
    for key, value in table.items():
        if isinstance(key, str) and key in section.keys:
            yield from _node(section.keys[key], value, source, (*path, key), problems)
            continue
        full = (*path, _part(key))
        problems.add(source.where(full), full, f"there is no such setting; {nearest(full[-1], section.keys)}")


def _named(
    named: Named, table: Mapping[object, object], source: Source, path: KeyPath, problems: Problems
) -> Iterator[Said]:
    for name, value in table.items():
        full = (*path, _part(name))
        try:
            named.name(name, False)
        except UsageError as error:
            problems.add(source.where(full), full, f"this cannot name a {named.what}: {error}")
            continue
        yield from _node(named.of, value, source, full, problems)


def _part(key: object) -> str:
    return key if isinstance(key, str) else shown(key)


def _no_table(path: KeyPath, value: object) -> str:
    return f"{shown(value)} is no table; write what is set under [{dotted(path)}]"


def _hint(path: KeyPath, value: object) -> str | None:
    """Better words for the slip that the two nearest names invite."""
    if path == ("streams",) and isinstance(value, Mapping):
        return 'it is the URL of the default pool; one stream\'s settings go under [stream."NAME"]'
    if path == ("stream",) and isinstance(value, str):
        return 'it is the table of streams, [stream."NAME"]; the URL of the default pool is the key streams'
    return None
