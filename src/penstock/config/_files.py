"""Settings files: which one, what is in it, and in which line each key stands."""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from penstock.config._saying import mask
from penstock.errors import InvalidSettingsError, MissingExtraError

__all__ = ["FileContent", "KeyPath", "find_file", "read_file", "split_key"]

KeyPath: TypeAlias = tuple[str, ...]

NAMES = ("penstock.toml", "penstock.yaml", "penstock.yml")
_PYPROJECT = "pyproject.toml"
_IN_PYPROJECT: KeyPath = ("tool", "penstock")
_KEY = re.compile(
    r"""\s*((?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*="""
)
# What PyYAML lets through for a scalar that is not what its tag says, beside its own errors.
_YAML_SLIPS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a settings file says."""

    path: Path
    tables: Mapping[object, object]
    lines: Callable[[], Mapping[KeyPath, int]]
    """Worked out only for a message: the line of each key, from 1."""
    spelled: Mapping[KeyPath, KeyPath] = field(default_factory=dict[KeyPath, KeyPath])
    """How the file spells a key, where that is not as we do."""


def find_file(start: Path) -> Path | None:
    """The settings file of *start*: in it, or in the nearest folder above.

    The search ends at the root, at a folder that holds ``.git`` (itself searched), and below a folder that everyone may
    write to, such as ``/tmp``: a stranger could leave a file there that names code to load. Raises
    `InvalidSettingsError` where one folder has two.
    """
    for folder in (start, *start.parents):
        if folder != start and _is_open_to_all(folder):
            return None
        found = [folder / name for name in NAMES if os.path.isfile(folder / name)]
        pyproject = folder / _PYPROJECT
        if os.path.isfile(pyproject) and _speaks_of_us(pyproject):
            found.append(pyproject)
        if len(found) > 1:
            names = ", ".join(each.name for each in found)
            raise InvalidSettingsError(
                [f"{folder} has more than one settings file: {names}; keep one of them"]
            )
        if found:
            return found[0]
        if os.path.exists(folder / ".git"):
            return None
    return None


def read_file(path: Path) -> FileContent:
    """What *path* says, by its ending. Raises `InvalidSettingsError`, `MissingExtraError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, f"it is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _wrong(path, f"it cannot be read: {reason}; check the path and its permissions") from None
    match path.suffix.lower():
        case ".toml":
            return _toml(path, text)
        case ".yaml" | ".yml":
            return _yaml(path, text)
        case _:
            raise _wrong(path, "its name has no ending known here; call it .toml, .yaml or .yml")


def split_key(dotted: str) -> KeyPath:
    """The parts of a dotted key, in which a part with dots of its own is quoted. Raises `ValueError`."""
    tables: object = tomllib.loads(f"{dotted} = 0")
    parts: list[str] = []
    while isinstance(tables, dict):
        [(part, tables)] = cast("dict[str, object]", tables).items()
        parts.append(part)
    return tuple(parts)


def _is_open_to_all(folder: Path) -> bool:
    try:
        return os.name == "posix" and bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _speaks_of_us(pyproject: Path) -> bool:
    """Whether there is a [tool.penstock]. One that cannot be parsed counts: reading it then says what is wrong."""
    try:
        content = pyproject.read_bytes()
        return b"penstock" in content and _inside(tomllib.loads(content.decode("utf-8-sig"))) is not None
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True


def _inside(tables: object) -> object:
    for part in _IN_PYPROJECT:
        tables = cast("dict[str, object]", tables).get(part) if isinstance(tables, dict) else None
    return tables


def _wrong(path: Path, reason: str) -> InvalidSettingsError:
    # Where a file should be named, a server's URL may stand.
    return InvalidSettingsError([f"{mask(str(path))}: {reason}"])


# -- TOML -------------------------------------------------------------------------------------------------------


def _toml(path: Path, text: str) -> FileContent:
    try:
        tables: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"it is not TOML: {error}; mend that place") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it cannot be read as TOML: {error}; mend or shorten it") from None
    above: KeyPath = ()
    if path.name == _PYPROJECT:
        tables, above = _inside(tables), _IN_PYPROJECT
        if tables is None:
            raise _wrong(path, "it has no [tool.penstock]; add the table, or name another file")
    if not isinstance(tables, dict):
        raise _wrong(path, "tool.penstock is no table; write [tool.penstock]")

    def lines() -> Mapping[KeyPath, int]:
        found: dict[KeyPath, int] = {}
        for key, line in _toml_lines(text):
            if key[: len(above)] == above:
                found.setdefault(key[len(above) :], line)
        return found

    return FileContent(path, cast("Mapping[object, object]", tables), lines)


def _toml_lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Where tables begin and keys are set. A key inside an inline table has no line: the table's is near enough."""
    table: KeyPath = ()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if line.lstrip().startswith("["):
                table = _only_path(tomllib.loads(line))
                yield table, number
            elif match := _KEY.match(line):
                yield (*table, *split_key(match[1])), number
        except ValueError:
            continue  # inside a list or a text of several lines


def _only_path(tables: dict[str, Any]) -> KeyPath:
    parts: list[str] = []
    while tables:
        [(part, inner)] = tables.items()
        parts.append(part)
        tables = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return tuple(parts)


# -- YAML -------------------------------------------------------------------------------------------------------


def _yaml(path: Path, text: str) -> FileContent:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError(f"the settings file {path}", "yaml") from None
    try:
        loader: Any = yaml.SafeLoader(text)
        root = loader.get_single_node()
        twice = [*_twice(root)]
        tables: object = loader.construct_document(root) if root is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _wrong(
            path, f"it is not YAML: {error.problem or error.context}{place}; mend that place"
        ) from None
    except (yaml.YAMLError, *_YAML_SLIPS) as error:
        raise _wrong(path, f"it cannot be read as YAML: {error}; mend it") from None
    if twice:
        raise InvalidSettingsError(
            [f"{path}, line {line}: {'.'.join(key)} is set twice; keep one of them" for key, line in twice]
        )
    if not isinstance(tables, dict):
        raise _wrong(path, "it holds no settings by name; write 'name: value' lines")

    def lines() -> Mapping[KeyPath, int]:
        found: dict[KeyPath, int] = {}
        for key, line in _yaml_lines(root):
            found.setdefault(key, line)
        return found

    return FileContent(path, cast("Mapping[object, object]", tables), lines)


def _yaml_lines(root: Any) -> Iterator[tuple[KeyPath, int]]:
    """Every key with its line. A table that aliases lead to again, even from within itself, is gone through once."""
    seen: set[int] = set()
    rest: list[tuple[Any, KeyPath]] = [(root, ())]
    while rest:
        node, above = rest.pop()
        if getattr(node, "id", None) == "mapping" and id(node) not in seen:
            seen.add(id(node))
            for key, value in node.value:
                path = (*above, str(key.value))
                yield path, key.start_mark.line + 1
                rest.append((value, path))


def _twice(root: Any) -> Iterator[tuple[KeyPath, int]]:
    """Keys that a table has twice, of which PyYAML would silently take the last."""
    seen: set[KeyPath] = set()
    for key, line in _yaml_lines(root):
        if key in seen:
            yield key, line
        seen.add(key)
