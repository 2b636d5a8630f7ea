"""From code, file, environment and command line to one `Settings`, or to one error with everything that is wrong."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from penstock.config._archive import read_archive
from penstock.config._beeorm import of_beeorm
from penstock.config._declared import read_declared
from penstock.config._files import KeyPath, find_file, read_file
from penstock.config._layers import (
    VARIABLE_OF_FILE,
    Problems,
    Said,
    Source,
    dotted,
    from_code,
    from_command_line,
    from_environment,
    from_file,
    read_source,
)
from penstock.config._model import Settings
from penstock.config._projections import read_consuming, read_producing
from penstock.config._relays import read_relays
from penstock.config._schema import ROOT, Key
from penstock.config._stores import read_stores
from penstock.errors import InvalidSettingsError

__all__ = ["load_settings"]

_FOLDER = ".penstock"
_CONFIG = ("config",)
_KEYS = {name: key for name, key in ROOT.keys.items() if isinstance(key, Key)}


def load_settings(
    *,
    code: Mapping[str, object] = {},
    file: str | Path | None = None,
    start: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] = {},
    source: str | None = None,
    groups: Iterable[str] = (),
    layouts: Collection[str] | None = None,
) -> Settings:
    """Everything that is set, checked as a whole. What comes later in this order wins: code, file, environment,
    command line.

    Args:
        code: What the app's module says, by the names of the settings file. Its ``config`` names a file, as the
            variable ``PENSTOCK_CONFIG`` does.
        file: The settings file, whatever code and environment say. Left out everywhere, it is looked for: see
            ``docs/reference/settings.md``.
        start: The folder (or a file in it) where the search begins; the current folder unless given.
        environ: The environment; the process's own unless given.
        overrides: What the command line says; keys may be dotted, texts stand for values of every type.
        source: What `Settings.source` is when nobody sets it: the app's name.
        groups: Names of consumer groups declared in code, so that variables find them.
        layouts: Names of layouts declared in code; left out where that is not known, and any name will do.

    Raises:
        InvalidSettingsError: Anything is wrong; `problems` names every place, key, reason and remedy.
        MissingExtraError: The file is YAML, and PyYAML is not installed.
    """
    environ = os.environ if environ is None else environ
    problems = Problems()
    base = _start(start)

    in_code = _read([from_code(code, base)], problems)
    on_command_line = _read(from_command_line(overrides, base, problems), problems)
    path, named_by = _file_to_read(file, in_code, on_command_line, environ, base, problems)
    in_file = _read(_opened(path, problems), problems)
    for misplaced in (each for each in in_file.values() if each.path == _CONFIG):
        problems.add(misplaced.where, _CONFIG, "a settings file cannot name another one; leave it out")
    names = _names({**in_code, **in_file}, groups)
    in_environment = _read(from_environment(environ, base, names, problems), problems)

    said = {**in_code, **in_file, **in_environment, **on_command_line}
    values = {name: said[(name,)].value if (name,) in said else key.default for name, key in _KEYS.items()}
    declared = read_declared(said, problems, strict=bool(values["strict"]), layouts=layouts)
    stores = read_stores(said, problems)
    consuming = read_consuming(said, problems, stores=stores)
    producing = read_producing(said, problems, stores=stores)
    values["data_folder"] = _data_folder(said.get(("data_folder",)), path, base, environ, problems)
    values["source"] = values["source"] or source
    if problems.found:
        raise InvalidSettingsError(tuple(dict.fromkeys(problems.found)))
    return Settings(
        **_only_fields(values),
        pools=declared.pools,
        stream_settings=declared.streams,
        groups=declared.groups,
        listeners=declared.listeners,
        archive=read_archive(said),
        stores=stores,
        consuming=consuming,
        producing=producing,
        relays={**read_relays(said), **{name: each.options for name, each in producing.items()}},
        origins=_origins(said, named_by),
        file=path,
    )


def _start(start: str | Path | None) -> Path:
    try:
        base = Path(os.path.abspath(start or Path.cwd()))
        return base.parent if os.path.isfile(base) else base
    except (OSError, ValueError) as error:
        raise InvalidSettingsError(
            [f"the folder to start from cannot be used: {error}; name one with start="]
        ) from None


def _read(sources: Iterable[Source], problems: Problems) -> dict[KeyPath, Said]:
    return {each.path: each for source in sources for each in read_source(source, problems)}


def _file_to_read(
    file: str | Path | None,
    in_code: Mapping[KeyPath, Said],
    on_command_line: Mapping[KeyPath, Said],
    environ: Mapping[str, str],
    base: Path,
    problems: Problems,
) -> tuple[Path | None, str]:
    """The settings file, if there is one, and who named it."""
    named: tuple[object, str] | None = None
    if file is not None:
        named = (file, "code")
    elif _CONFIG in on_command_line:
        named = (on_command_line[_CONFIG].value, "command line")
    elif variable := environ.get(VARIABLE_OF_FILE, "").strip():
        named = (variable, f"environment {VARIABLE_OF_FILE}")
    elif _CONFIG in in_code:
        named = (in_code[_CONFIG].value, "code")
    if named is not None:
        return Path(os.path.abspath(base / str(named[0]))), named[1]
    try:
        return find_file(base), "default"
    except InvalidSettingsError as error:
        problems.found += error.problems
        return None, "default"


def _opened(path: Path | None, problems: Problems) -> Iterator[Source]:
    if path is not None:
        try:
            content, wrong = of_beeorm(read_file(path), ROOT.keys.__contains__)
            source = from_file(content)
            for key, reason in wrong:
                problems.add(source.where(key), key, reason)
            yield source
        except InvalidSettingsError as error:
            problems.found += error.problems


def _names(said: Mapping[KeyPath, Said], groups: Iterable[str]) -> dict[str, set[str]]:
    """The names in use so far, by the table they are keys of. An event's name is its stream's, unless it says more."""
    names = {"groups": set(groups), "pools": set[str](), "stream": set[str](), "listeners": set[str]()}
    names["stores"] = {"local", "shared"}
    for path, each in said.items():
        match path:
            case (table, name) if table in names:
                names[table].add(name)
            case ("pools" | "groups", _, "streams"):
                names["stream"] |= set(cast("Iterable[str]", each.value))
            case _:
                pass
    names["stream"] = names["listeners"] = names["stream"] | names["listeners"]
    return names


def _data_folder(
    said: Said | None, file: Path | None, base: Path, environ: Mapping[str, str], problems: Problems
) -> Path:
    if said is None:
        return (file.parent if file is not None else base) / _FOLDER
    written = str(said.value)
    if written == "~" or written.startswith("~/"):
        home = environ.get("HOME") or environ.get("USERPROFILE")
        if home is None:
            problems.add(said.where, said.path, "nobody says where ~ is; write the folder out, or set HOME")
            return base
        written = home + written[1:]
    return Path(os.path.abspath(said.source.base / written))


def _only_fields(values: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "config"}


def _origins(said: Mapping[KeyPath, Said], named_by: str) -> dict[str, str]:
    origins = dict.fromkeys(_KEYS, "default")
    for path, each in said.items():
        if not each.is_table:
            origins[dotted(path)] = each.source.origin
        if path[0] == "pools" and path[2:] == ("streams",):
            for stream, groups in cast("Mapping[str, object]", each.value).items():
                origins.setdefault(dotted(("stream", stream, "pool")), each.source.origin)
                if groups is not None:
                    origins.setdefault(dotted(("stream", stream, "groups")), each.source.origin)
    return origins | {"config": named_by}
