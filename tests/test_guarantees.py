"""The page on guarantees cites tests that exist, and the page on architecture files that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "guarantees.md"
ROWS = re.findall(r"^\| (G\d+) \|(.+)\|$", PAGE.read_text(encoding="utf-8"), flags=re.M)


@cache
def names_in(path: str) -> frozenset[str]:
    """The test functions that a file defines, in classes too."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_")
    )


def test_promises_are_numbered_without_a_gap() -> None:
    """Each promise has an id of its own, in order, so that it can be referred to."""
    assert [row for row, _ in ROWS] == [f"G{number}" for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 20


@pytest.mark.parametrize(("row", "text"), ROWS, ids=[row for row, _ in ROWS])
def test_a_promise_is_proved_by_tests_that_exist(row: str, text: str) -> None:
    """Each row cites at least one test, and each cited file has a test of that name."""
    cited = re.findall(r"`([\w/.]+\.py)::(\w+)`", text)
    assert cited, f"{row} cites no test"
    assert [f"{path}::{name}" for path, name in cited if name not in names_in(path)] == []


def test_the_page_on_architecture_names_files_that_exist() -> None:
    """Files, and what is said to be in them, are as they are in the code."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [path.as_posix() for folder in ("src", "tests", "tools") for path in (ROOT / folder).rglob("*.*")]
    named = set(re.findall(r"`([\w/]+\.(?:py|lua))`", text))
    assert named, "the page names files"
    assert sorted(name for name in named if not any(path.endswith(f"/{name}") for path in files)) == []
    code = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "src" / "penstock").rglob("*.py"))
    )
    members = set(re.findall(r"`(?:[A-Za-z_]+\.)+([a-z_]\w+)`", text)) - {"py", "lua", "md"}
    assert sorted(name for name in members if not re.search(rf"\b{name}\b", code)) == []
