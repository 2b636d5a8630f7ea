"""Wiring that every test shares: the rows a test proves, the long form of a test, and where fixtures come from.

Fixtures live in ``tests/fixtures_*.py``, one file a subject, and in `penstock.testing.plugin`, which users have too.
"""

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tools.features import PAGE, PLAN, known_ids, promised, report

__all__ = ["pytest_plugins", "torture"]

SOURCE = Path(__file__).parent.parent / "src" / "penstock"


def _plugins() -> Iterator[str]:
    """Our fixture modules, and the shipped plugin where the project is not installed to announce it itself."""
    yield from (f"tests.{path.stem}" for path in sorted(Path(__file__).parent.glob("fixtures_*.py")))
    if (SOURCE / "testing" / "plugin.py").exists() and not entry_points(group="pytest11", name="penstock"):
        yield "penstock.testing.plugin"


pytest_plugins = [*_plugins()]


@pytest.fixture(scope="session")
def torture() -> bool:
    """Whether a test marked ``torture`` should take its long form."""
    return os.environ.get("PENSTOCK_TORTURE") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--features-report``, which prints what is proved instead of running anything."""
    parser.addoption(
        "--features-report", action="store_true", help="print every feature with the tests that cite it"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that cites a row which does not exist: it would prove nothing."""
    known = known_ids()
    wrong = [f"{item.nodeid} cites {name}" for item in items for name in _cited(item) if name not in known]
    if wrong:
        remedy = f"add the row to {PAGE.name}, or cite one that is there"
        raise pytest.UsageError("\n".join([*wrong, remedy]))


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With ``--features-report``: print the report and run nothing."""
    if not session.config.getoption("--features-report"):
        return None
    tests: dict[str, list[str]] = {}
    for item in session.items:
        for name in _cited(item):
            tests.setdefault(name, []).append(item.nodeid)
    list_of_rows = PLAN if PLAN.exists() else PAGE
    print("", *report(promised(list_of_rows.read_text(encoding="utf-8")), tests), sep="\n")  # noqa: T201  it was asked for
    return True


def _cited(item: pytest.Item) -> list[str]:
    return list(dict.fromkeys(name for mark in item.iter_markers("covers") for name in mark.args))
