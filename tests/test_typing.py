"""Type checkers see the API as we mean it: good.py is accepted, bad.py is refused on the marked lines and no others.

A line of bad.py that a user's checker must complain about ends in ``# E:`` and what is wrong with it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tools.type_completeness import verdict

ROOT = Path(__file__).parent.parent
TYPING = Path(__file__).parent / "typing"

Findings: TypeAlias = dict[str, dict[int, str]]
"""The errors by file name and line."""
Checker: TypeAlias = Callable[[list[Path], Path], Findings]


def run_mypy(paths: list[Path], scratch: Path) -> Findings:
    """What mypy says, strict, with penstock as a user has it."""
    config = scratch / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = True\npython_version = 3.11\nmypy_path = {ROOT / 'src'}\n", encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(config),
        "--cache-dir",
        str(scratch / "cache"),
    ]
    done = subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, cwd=scratch, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = re.findall(r"^(.+?\.py):(\d+):(?:\d+:)? error: (.+)$", done.stdout, re.M)
    return gathered((Path(file).name, int(line), text) for file, line, text in lines)


def run_pyright(paths: list[Path], scratch: Path) -> Findings:
    """What pyright says, strict, with penstock as a user has it."""
    config = scratch / "pyrightconfig.json"
    settings = {
        "typeCheckingMode": "strict",
        "include": [*map(str, paths)],
        "extraPaths": [str(ROOT / "src")],
    }
    config.write_text(json.dumps(settings | {"pythonVersion": "3.11"}), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "--project",
        str(config),
        "--outputjson",
        "--level",
        "error",
    ]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable], capture_output=True, text=True, cwd=scratch, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(paths)
    found = answer["generalDiagnostics"]
    return gathered(
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"]) for one in found
    )


def gathered(found: Iterable[tuple[str, int, str]]) -> Findings:
    """Errors by file and line."""
    findings: Findings = {}
    for file, line, text in found:
        findings.setdefault(file, {})[line] = text
    return findings


def marked(path: Path) -> set[int]:
    """The lines of a file that must be refused."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, start=1) if re.search(r"# E: \S", line)}


checkers = pytest.mark.parametrize("check", [run_mypy, run_pyright], ids=["mypy", "pyright"])


@checkers
@pytest.mark.timeout(300)
def test_the_types_accept_what_is_right_and_refuse_what_is_wrong(check: Checker, tmp_path: Path) -> None:
    """Users of mypy strict and of pyright strict get the same answer: every mistake, and nothing but mistakes."""
    good, bad = TYPING / "good.py", TYPING / "bad.py"
    assert [path.name for path in (good, bad) if not path.exists()] == [], "these are missing"
    found = check([good, bad], tmp_path)
    assert found.get("good.py", {}) == {}
    wrong = found.get("bad.py", {})
    assert marked(bad), "bad.py marks nothing"
    assert {line: wrong[line] for line in wrong.keys() - marked(bad)} == {}, "refused, but not marked"
    assert marked(bad) - wrong.keys() == set(), "marked, but accepted"


@checkers
def test_a_mistake_is_reported_on_its_line(check: Checker, tmp_path: Path) -> None:
    """The runner reads both checkers' answers: a wrong type, and in strict mode an untyped function."""
    (tmp_path / "good.py").write_text("number: int = 1\n", encoding="utf-8")
    (tmp_path / "bad.py").write_text(
        'number: int = 1\ntext: str = number  # E: an int\ndef untyped(x): ...  # E: no types\nother = ""  # E:\n',
        encoding="utf-8",
    )
    found = check([tmp_path / "good.py", tmp_path / "bad.py"], tmp_path)
    assert found.keys() == {"bad.py"}
    assert found["bad.py"].keys() == marked(tmp_path / "bad.py") == {2, 3}


@pytest.mark.parametrize(
    ("symbol", "complaints"),
    [
        ({"isTypeKnown": True, "isTypeAmbiguous": False}, []),
        ({"isTypeKnown": False, "isTypeAmbiguous": True}, []),
        ({"isTypeKnown": False, "isTypeAmbiguous": False}, ["penstock.App has a type that is unknown"]),
    ],
)
def test_a_public_symbol_of_unknown_type_is_a_complaint(
    symbol: dict[str, bool], complaints: list[str]
) -> None:
    """`make check` shows how complete the types are, and fails for a public symbol that no checker can know."""
    counts = {"withKnownType": 9, "withAmbiguousType": 1, "withUnknownType": len(complaints)}
    found: dict[str, Any] = {
        "packageName": "penstock",
        "pyTypedPath": "py.typed",
        "completenessScore": 0.9,
        "exportedSymbolCounts": counts,
        "symbols": [{"name": "penstock.App", "isExported": True, **symbol}],
    }
    assert verdict({"typeCompleteness": found})[1] == complaints
    [complaint] = verdict({"typeCompleteness": found | {"pyTypedPath": "", "symbols": []}})[1]
    assert complaint.startswith("no typed package was found")
