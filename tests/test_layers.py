"""Imports run downwards only, as the table in tools/layers.py says; and the checker sees what it should."""

from pathlib import Path

import pytest

from tools.layers import ALLOWED, FOREIGN, ROOT_PART, VOCABULARY, WITHOUT_IO, findings

SOURCE = Path(__file__).parent.parent / "src" / "penstock"


def tree(root: Path, **sources: str) -> Path:
    """A package with one file a keyword; ``streams__abc`` is the module ``streams.abc``."""
    for name, source in sources.items():
        path = (
            root.joinpath(*name.removeprefix("__").split("__"))
            if name not in ("__init__", "__main__")
            else root / name
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source, encoding="utf-8")
    return root


def module(part: str) -> str:
    """How other code names a part."""
    return "penstock" if part == ROOT_PART else f"penstock.{part}"


def test_penstock_keeps_to_its_layers() -> None:
    """No module of penstock imports upwards, sideways or in a circle, and every part has a row in the table."""
    assert len(list(SOURCE.rglob("*.py"))) > 20, "the tree under test is not where this test looks"
    assert findings(SOURCE) == []


def test_the_table_names_the_layers_of_the_design() -> None:
    """Vocabulary, streams and store, engines, edges, operations, faces: each sees all below it and nothing else."""
    engines = {"listeners", "archive", "projections", "services", "machines", "relays"}
    edges = {"replays", "gateways", "models"}
    lower = VOCABULARY | {"streams", "store"}
    assert {part: ALLOWED[part] for part in VOCABULARY} == dict.fromkeys(VOCABULARY, VOCABULARY)
    assert ALLOWED["streams"] == ALLOWED["store"] == VOCABULARY
    alone = engines - {"projections", "relays"}
    assert {part: ALLOWED[part] for part in alone} == dict.fromkeys(alone, lower)
    # Handlers of projections are called as listeners are.
    assert ALLOWED["projections"] == lower | {"listeners"}
    # A relay runs as a projection does, and reads what was archived.
    assert ALLOWED["relays"] == lower | {"archive", "projections"}
    assert {part: ALLOWED[part] for part in edges} == dict.fromkeys(edges, lower | engines)
    assert ALLOWED["operations"] == lower | engines | edges | {"app", "config"}
    assert ALLOWED["cli"] == ALLOWED["dashboard"] == VOCABULARY | {"operations", "demo", "app", "config"}
    assert ALLOWED["testing"].isdisjoint({"cli", "dashboard"})


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_may_import_what_its_row_says_and_nothing_else(part: str, tmp_path: Path) -> None:
    """Each row is tried against every other part, one tree a pair: allowed is silent, anything else is one finding."""
    for other in ALLOWED.keys() - {part}:
        root = tree(tmp_path / other, **{part: f"import {module(other)}\n", other: ""})
        found = findings(root)
        if other in ALLOWED[part]:
            assert found == [], f"{part} imports {other}"
        else:
            assert found == [f"{root / part}.py:1: {part} may not import {module(other)}"]


@pytest.mark.parametrize(
    "source",
    [
        "from penstock.cli import main",
        "from penstock import cli",
        "import penstock.cli.output as output",
        "from .. import cli",
        "from ..cli import main",
        "def late() -> None:\n    from penstock.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from penstock.cli import main",
        "try:\n    import penstock.cli\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('penstock.cli')",
        "from importlib import import_module\ndef late() -> None:\n    import_module('penstock.cli')",
    ],
)
def test_an_import_upwards_is_seen_however_it_is_written(source: str, tmp_path: Path) -> None:
    """Late, conditional, relative and by name: knowing a part above is the fault, not the moment of loading it."""
    root = tree(tmp_path, streams__abc=source, streams____init__="", cli____init__="")
    [finding] = findings(root)
    assert "abc.py" in finding
    assert "streams may not import penstock" in finding


def test_a_part_that_has_no_row_is_a_finding(tmp_path: Path) -> None:
    """A new folder, or a new module beside them, has to be placed in the table before it may stand there."""
    assert findings(tree(tmp_path / "a", plumbing__pipes="")) == [
        "penstock.plumbing has no row in tools/layers.py: decide who may import it"
    ]
    assert len(findings(tree(tmp_path / "b", plumbing=""))) == 1


@pytest.mark.parametrize("part", sorted(VOCABULARY))
def test_the_vocabulary_does_no_io(part: str, tmp_path: Path) -> None:
    """No word of the vocabulary opens a file, a socket or a thread; only clock and lifecycle know asyncio."""
    waits = part in {"clock", "lifecycle"}
    for package in WITHOUT_IO:
        found = findings(tree(tmp_path / package, **{part: f"from {package} import something\n"}))
        assert len(found) == (0 if waits and package == "asyncio" else 1), package


@pytest.mark.parametrize("part", sorted(ALLOWED.keys() - VOCABULARY))
def test_packages_of_others_stay_where_they_belong(part: str, tmp_path: Path) -> None:
    """Typer and rich live in the command line, the Redis client below the promise of the streams."""
    for package, parts in FOREIGN.items():
        found = findings(tree(tmp_path / package, **{part: f"import {package}.some.where\n"}))
        assert len(found) == (0 if part in parts else 1), package


def test_a_circle_of_modules_is_a_finding(tmp_path: Path) -> None:
    """Within one part, too, imports form no circle."""
    root = tree(
        tmp_path,
        streams__a="from penstock.streams.b import B",
        streams__b="import penstock.streams.c",
        streams__c="from penstock.streams import a",
    )
    [finding] = findings(root)
    assert finding.startswith("these import each other in a circle: ")
    assert all(f"penstock.streams.{name}" in finding for name in "abc")


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from penstock.streams.a import A",
        "def late() -> None:\n    from penstock.streams.a import A",
    ],
)
def test_what_is_not_loaded_closes_no_circle(source: str, tmp_path: Path) -> None:
    """Types of one another, and what a function loads when it is called, hold nobody up."""
    root = tree(tmp_path, streams__a="from penstock.streams.b import B", streams__b=source)
    assert findings(root) == []
