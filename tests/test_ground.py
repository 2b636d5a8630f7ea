"""The ground holds: locks are complete and name nothing but versions and hashes, and `make` tells what it can do."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
LOCKS.remove(ROOT / "requirements" / "overrides.txt")
PINNED = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", re.MULTILINE)


def locked(*names: str) -> dict[str, set[Version]]:
    """The versions that these lock files pin, by package."""
    found: dict[str, set[Version]] = {}
    for name in names:
        for package, version in PINNED.findall((ROOT / "requirements" / name).read_text(encoding="utf-8")):
            found.setdefault(package, set()).add(Version(version))
    return found


def wanted() -> dict[str, list[Requirement]]:
    """What is declared, by the lock file that has to answer for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"], *extras]
    files = {
        path.name: path.read_text(encoding="utf-8").splitlines() for path in ROOT.glob("requirements/*.in")
    }
    lines = {"dev.txt": declared, "build.txt": files["build.in"], "bench.txt": files["bench.in"]}
    return {
        lock: [
            Requirement(line)
            for line in declared
            if line and line[0] != "#" and not line.startswith("penstock[")
        ]
        for lock, declared in lines.items()
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    """No index, no host and no path of the machine that wrote it; every package has its hashes."""
    text = lock.read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if not line.startswith("#")]
    pin = r"[a-z0-9][a-z0-9.-]*==\S+( ; [^\\/]+)? \\"
    digest = r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    assert [line for line in body if not re.fullmatch(f"{pin}|{digest}", line)] == []
    assert len(PINNED.findall(text)) > 5
    assert "://" not in text


@pytest.mark.parametrize("lock", sorted(wanted()))
def test_what_is_declared_is_locked(lock: str) -> None:
    """A dependency that was added or raised without `make lock` is found here, not in a fresh clone."""
    pins = locked(lock)
    stale = [
        str(requirement)
        for requirement in wanted()[lock]
        if not any(
            requirement.specifier.contains(pin) for pin in pins.get(canonicalize_name(requirement.name), ())
        )
    ]
    assert stale == [], "run `make lock`"


def test_one_environment_serves_tests_and_benchmarks() -> None:
    """Where two locks name the same package they name the same version, so installing one does not undo another."""
    dev, build, bench = (locked(f"{name}.txt") for name in ("dev", "build", "bench"))
    for one, other in ((dev, build), (dev, bench), (build, bench)):
        assert {
            name: (one[name], other[name]) for name in one.keys() & other.keys() if one[name] != other[name]
        } == {}


def test_make_tells_what_it_can_do() -> None:
    """Every target has a line at the top of the Makefile, which `make` alone prints."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    [phony] = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    told = re.findall(r"^#   make ([a-z-]+)", text, re.MULTILINE)
    assert {*told, "help"} == set(phony.split())
