"""The house's table of who may import whom, and the checker that holds a source tree against it.

Imports run downwards only. The unit is a part: a module or a folder directly below the package. What stands inside
functions or under ``TYPE_CHECKING`` counts for the direction, because it is knowledge all the same; only what runs when
a module is imported counts for cycles.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ALLOWED", "FOREIGN", "ROOT_PART", "VOCABULARY", "WITHOUT_IO", "findings"]

PACKAGE: Final = "penstock"
ROOT_PART: Final = "__init__"
"""The package's own ``__init__.py``, which re-exports for users; nobody inside imports from it."""

VOCABULARY: Final = frozenset(
    {
        "errors",
        "clock",
        "position",
        "message",
        "event",
        "codec",
        "envelope",
        "retry",
        "lifecycle",
        "telemetry",
    }
)
"""Values and rules, without I/O."""

_ENGINES: Final = frozenset({"listeners", "archive", "projections", "services", "machines", "relays"})
_EDGES: Final = frozenset({"replays", "gateways", "models"})
_WIRING: Final = frozenset({"app", "config"})
_WIRING_UP: Final = _WIRING | {
    "_archiving",
    "_building",
    "_declaring",
    "_emitting",
    "_histories",
    "_housekeeping",
    "_locking",
    "_remembering",
    "_projecting",
    "_registering",
    "_registry",
    "_relaying",
    "_replaying",
    "_replaying_lane",
    "_replaying_lanes",
    "_scheduling",
    "_storing",
    "_supervising",
    "_wiring",
    "sync",
}
"""The wiring with the modules that `app` is cut into."""
_FACES: Final = frozenset({"cli", "dashboard"})

_BROKERS_UP: Final = VOCABULARY | {"streams", "store"}
_ENGINES_UP: Final = _BROKERS_UP | _ENGINES
_EDGES_UP: Final = _ENGINES_UP | _EDGES

ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(VOCABULARY, VOCABULARY),
    "streams": VOCABULARY,
    "store": VOCABULARY,
    **dict.fromkeys(_ENGINES, _BROKERS_UP),
    "projections": _BROKERS_UP | {"listeners"},  # whose way of calling handlers it shares
    "relays": _BROKERS_UP | {"archive", "projections"},
    **dict.fromkeys(_EDGES, _ENGINES_UP),
    **dict.fromkeys(_WIRING_UP, _EDGES_UP | _WIRING_UP),
    "operations": _EDGES_UP | _WIRING,
    **dict.fromkeys(_FACES, VOCABULARY | {"operations", "demo"} | _WIRING),
    "demo": VOCABULARY
    | {ROOT_PART, "streams", "projections", "replays", "operations"}
    | _WIRING,  # a user's program that ships with us
    "testing": _EDGES_UP | _WIRING_UP | {"operations", ROOT_PART},
    ROOT_PART: _EDGES_UP | _WIRING_UP,
    "__main__": frozenset({"cli"}),
}
"""Each part with the others it may import. A part that is not here has not been thought about."""

FOREIGN: Final[Mapping[str, frozenset[str]]] = {
    "typer": frozenset({"cli"}),
    "rich": frozenset({"cli", "demo"}),
    "redis": frozenset({"replays", "streams", "testing"}) | _WIRING_UP,
    "hiredis": frozenset({"streams"}),
    "sqlalchemy": frozenset({"archive", "demo", "models", "replays", "store"}),
    "aiosqlite": frozenset({"store"}),
    "asyncpg": frozenset({"store"}),
    "django": frozenset({"models", "store"}),
    "fsspec": frozenset({"archive"}),
}
"""Packages of others that only some parts may import."""

WITHOUT_IO: Final = frozenset(
    {"asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading"}
    | {"http", "select", "selectors", "socket", "ssl", "urllib"}
    | {"pathlib", "shutil", "sqlite3", "tempfile"}
    | {"hiredis", "psycopg", "redis", "rich", "sqlalchemy", "typer"}
)
"""What the vocabulary does not import."""

_WAITING: Final = frozenset({("asyncio", "lifecycle"), ("asyncio", "clock")})
"""The two words of the vocabulary that are about waiting, and may use asyncio for it."""


class _Import(NamedTuple):
    line: int
    module: str
    at_import: bool


class _Module(NamedTuple):
    name: str
    path: Path
    imports: tuple[_Import, ...]

    @property
    def part(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ROOT_PART


def findings(root: Path) -> list[str]:
    """What is wrong with the imports of the package in *root*, one line a finding, with file and line."""
    modules = _read(root)
    unknown = sorted({module.part for module in modules.values()} - ALLOWED.keys())
    return [
        *(f"{PACKAGE}.{part} has no row in tools/layers.py: decide who may import it" for part in unknown),
        *(line for module in modules.values() if module.part in ALLOWED for line in _forbidden(module)),
        *_cycle(modules),
    ]


def _forbidden(module: _Module) -> Iterator[str]:
    for line, wanted, _ in module.imports:
        top, _, rest = wanted.partition(".")
        other = rest.partition(".")[0] or ROOT_PART
        place = f"{module.path}:{line}: {module.part}"
        if top == PACKAGE:
            if other != module.part and other not in ALLOWED[module.part]:
                yield f"{place} may not import {wanted}"
        elif module.part not in FOREIGN.get(top, {module.part}):
            yield f"{place} may not import {wanted}, which is for {', '.join(sorted(FOREIGN[top]))}"
        elif module.part in VOCABULARY and top in WITHOUT_IO and (top, module.part) not in _WAITING:
            yield f"{place} is vocabulary and does no I/O, so it may not import {wanted}"


def _cycle(modules: Mapping[str, _Module]) -> Iterator[str]:
    graph = {
        name: {wanted.module for wanted in module.imports if wanted.at_import and wanted.module in modules}
        - {name}
        for name, module in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"these import each other in a circle: {' <- '.join(error.args[1])}"


def _read(root: Path) -> dict[str, _Module]:
    paths = {_name(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    return {
        name: _Module(name, path, tuple(_read_imports(name, path, paths))) for name, path in paths.items()
    }


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _read_imports(name: str, path: Path, ours: Collection[str]) -> Iterator[_Import]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node, at_import in _walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), at_import=True):
        match node:
            case ast.Import(names=names):
                yield from (_Import(node.lineno, name.name, at_import) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                source = _absolute(package, module, level)
                # ``from a import b`` means the module a.b where there is one, else a.
                wanted = (f"{source}.{name.name}" for name in names)
                yield from (
                    _Import(node.lineno, full if full in ours else source, at_import) for full in wanted
                )
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield _Import(node.lineno, module, at_import)
            case _:
                pass


def _walk(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below *node*, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        yield child, at_import
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield from _walk(child, at_import=at_import and not later)


def _absolute(package: str, module: str | None, level: int) -> str:
    parents = package.split(".")[: -(level - 1) or None] if level else []
    return ".".join([*parents, *([module] if module else [])])
