"""Every example runs with one command and prints what stands beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_runner import compare, environment

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path for path in (ROOT / "examples").glob("*/") if path.name[0] not in "._")


def program(folder: Path) -> Path:
    """What runs the example."""
    [found] = [folder / name for name in ("run.py", "main.py") if (folder / name).exists()]
    return found


@pytest.mark.covers("OPS-8")
def test_there_are_examples_and_each_is_complete() -> None:
    """Each folder has one program, the output that it is expected to print, and a README that says what it shows."""
    assert FOLDERS, "examples/ is empty"
    assert [folder.name for folder in FOLDERS if not (folder / "expected.txt").exists()] == []
    assert [folder.name for folder in FOLDERS if not (folder / "README.md").exists()] == []
    assert [folder.name for folder in FOLDERS if not program(folder).exists()] == []


@pytest.mark.covers("OPS-8")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", FOLDERS or [ROOT / "examples" / "missing"], ids=lambda folder: folder.name)
def test_an_example_prints_what_stands_beside_it(folder: Path, tmp_path: Path) -> None:
    """The program ends by itself with code 0, and its output is expected.txt, where ``...`` stands for anything."""
    copy = tmp_path / folder.name
    for source in folder.rglob("*"):
        if source.is_file() and "__pycache__" not in source.parts and ".penstock" not in source.parts:
            target = copy / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    there = environment(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, program(folder).name],
            cwd=copy,
            env=there,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        # An example may leave the embedded server of its folder running, as a first program of a user does.
        subprocess.run(
            ["penstock", "server", "stop"], cwd=copy, env=there, capture_output=True, timeout=30, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert compare((folder / "expected.txt").read_text(encoding="utf-8"), done.stdout) == "", done.stderr
