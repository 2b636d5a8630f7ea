"""The public API on one page: every promised name with its signature, read from the source without importing it.

A module is public when no part of its dotted name begins with an underscore; its promise is its ``__all__``. A name
that another public module defines is listed there once and pointed to from here. `make docs` writes the page, so that
a change of the API shows in the commit that makes it.
"""

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

__all__ = ["FACES", "PAGE", "Module", "listing", "modules"]

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "api.txt"
FACES: Final = ("penstock.cli.", "penstock.dashboard.", "penstock.demo.")
"""What these promise is their commands and pages, not the functions behind them."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """One module of the package, as its source says it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))

    @property
    def public(self) -> bool:
        """Whether users may import it."""
        return not any(part.startswith("_") for part in self.name.split("."))

    @property
    def empty(self) -> bool:
        """Whether it has nothing but a docstring."""
        return all(isinstance(node, ast.Expr) for node in self.tree.body)

    @cached_property
    def exported(self) -> list[str] | None:
        """The names in ``__all__``; ``None`` without one."""
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name("__all__")], value=value):
                    return list(ast.literal_eval(value))
                case _:
                    pass
        return None

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """What each name is defined as at the module's top level, with the constants' docstrings after them."""
        found: dict[str, list[ast.stmt]] = {}
        body = [*_flat(self.tree.body)]
        for node, following in zip(body, [*body[1:], None], strict=True):
            for name in _bound(node):
                docstring = [following] if isinstance(following, ast.Expr) else []
                found.setdefault(name, []).extend([node, *docstring])
        return found

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Each name that comes from elsewhere, with the module it comes from and its name there."""
        return {
            name.asname or name.name: (node.module or "", name.name)
            for node in _flat(self.tree.body)
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }


class Origin(NamedTuple):
    """Where a name is defined, and how it is called there."""

    module: Module
    name: str

    @property
    def nodes(self) -> list[ast.stmt]:
        """Its definition; several for overloads."""
        return self.module.definitions[self.name]


def modules(root: Path, package: str = "penstock") -> dict[str, Module]:
    """Every module of the package in folder *root*, by dotted name."""
    found: dict[str, Module] = {}
    for path in sorted(root.rglob("*.py")):
        parts = (package, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return dict(sorted(found.items()))


def origin(name: str, module: Module, known: dict[str, Module]) -> Origin | None:
    """Follow imports to where *name* of *module* is defined; ``None`` for what is not defined in the package."""
    if name in module.definitions:
        return Origin(module, name)
    source, its_name = module.imported.get(name, ("", ""))
    return origin(its_name, known[source], known) if source in known else None


def listing(known: dict[str, Module]) -> str:
    """The page."""
    public = [module for module in known.values() if module.public and not module.name.startswith(FACES)]
    lines = ["# The public API. `make docs` writes this page from the source; do not edit it."]
    homes: dict[Origin, str] = {}
    for module in sorted(public, key=lambda module: (-module.name.count("."), module.name)):
        for name in module.exported or ():
            place = origin(name, module, known)
            if place and (place.module is module or not place.module.public):
                homes.setdefault(place, module.name)
    for module in public:
        if module.exported:
            lines += ["", module.name]
            lines += (
                f"    {line}"
                for name in sorted(module.exported)
                for line in _entry(name, module, known, homes)
            )
    return "\n".join(lines) + "\n"


def _entry(name: str, module: Module, known: dict[str, Module], homes: dict[Origin, str]) -> Iterator[str]:
    place = origin(name, module, known)
    if place is None:
        source, its_name = module.imported.get(name, ("?", name))
        yield f"{name} = {source}.{its_name}"
    elif (home := homes.get(place, place.module.name)) != module.name:
        yield f"{name} = {home}.{place.name}"
    else:
        for node in place.nodes:
            yield from _definition(node)


def _definition(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(bases=bases, keywords=keywords):
            parents = ", ".join(
                [*map(ast.unparse, bases), *(f"{word.arg}={ast.unparse(word.value)}" for word in keywords)]
            )
            yield from _decorators(node.decorator_list)
            yield f"class {node.name}({parents})" if parents else f"class {node.name}"
            yield from (f"    {line}" for member in _flat(node.body) for line in _member(member))
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _decorators(node.decorator_list)
            yield _signature(node)
        case ast.AnnAssign(target=target, annotation=ast.Name("TypeAlias"), value=value):
            yield f"{ast.unparse(target)}{_value(value)}"
        case ast.AnnAssign(target=target, annotation=annotation, value=value):
            yield f"{ast.unparse(target)}: {ast.unparse(annotation)}{_value(value)}"
        case ast.Assign(targets=targets, value=value):
            yield from (f"{ast.unparse(target)}{_value(value)}" for target in targets)
        case _:
            pass


def _member(node: ast.stmt) -> Iterator[str]:
    private = all(name.startswith("_") and not name.endswith("__") for name in _bound(node))
    if not private:
        yield from _definition(node)


def _decorators(nodes: list[ast.expr]) -> Iterator[str]:
    yield from (f"@{ast.unparse(node)}" for node in nodes)


def _signature(node: Function) -> str:
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(node.args)}){returns}"


def _value(node: ast.expr | None) -> str:
    text = ast.unparse(node) if node else ""
    return f" = {text if len(text) <= 80 else '...'}" if text else ""


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of *body*, and those inside its conditions and attempts."""
    for node in body:
        match node:
            case ast.If(body=inner, orelse=others):
                yield from _flat([*inner, *others])
            case ast.Try(body=inner, orelse=others, handlers=handlers):
                yield from _flat([*inner, *others, *(node for handler in handlers for node in handler.body)])
            case _:
                yield node


def _bound(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(name)):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            return []


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(listing(modules(ROOT / "src" / "penstock")), encoding="utf-8")
