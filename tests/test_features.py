"""The feature list is true to the tests: rows that are cited exist, and the page says where each is proved."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.features import PAGE, ROOT, cited_ids, citing_files, promised, refreshed, report

TEST = """
import pytest

@pytest.mark.covers({ids})
def test_something() -> None:
    pass
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with our conftest's wiring over the tests in *folder*."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(
        [*command, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_every_cited_row_is_on_the_page() -> None:
    """A test proves only what the project promises, in any clone of it."""
    rows = promised(PAGE.read_text(encoding="utf-8"))
    missing = {name: files for name, files in citing_files().items() if name not in rows}
    assert missing == {}, f"add these rows to {PAGE.relative_to(ROOT)}, or cite rows that are there"


def test_the_page_says_where_each_row_is_proved() -> None:
    """The generated part of docs/reference/features.md is what the tests say."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == refreshed(page, citing_files()), "tests and page have drifted apart: run `make docs`"


def test_a_page_without_its_markers_is_refused() -> None:
    """A page that lost the place for its generated part is not overwritten."""
    with pytest.raises(ValueError, match="lost its markers"):
        refreshed("| CONF-1 | Promise. |\n", {})


def test_a_row_that_appears_twice_is_refused() -> None:
    """An id means one promise."""
    with pytest.raises(ValueError, match="twice: CONF-1"):
        promised("| CONF-1 | One. |\n| CONF-1 | Other. |\n")


def test_citations_are_read_from_the_source() -> None:
    """A mark counts on a function, on a class and on a parameter."""
    source = """
@pytest.mark.covers("A-1", "A-2")
class Contract:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.covers("A-3"))])
    def test_x(self, x): "A-4"
"""
    assert cited_ids(source) == {"A-1", "A-2", "A-3"}


def test_the_report_names_what_no_test_proves() -> None:
    """Every row comes with its tests, and rows without any are named at the end."""
    lines = list(report({"A-1": "One.", "A-2": "Two."}, {"A-1": ["t.py::a", "t.py::b"]}))
    assert lines[0].split() == ["A-1", "One."]
    assert lines[1].split() == ["t.py::a"]
    assert "without a test: A-2" in lines
    assert lines[-1] == "1 of 2 features are cited, by 2 tests"


def test_pytest_prints_the_report_and_runs_nothing(tmp_path: Path) -> None:
    """``--features-report`` lists each row with the tests that cite it."""
    (tmp_path / "test_one.py").write_text(TEST.format(ids="'CONF-1', 'MSG-1'"), encoding="utf-8")
    done = run_pytest(tmp_path, "--features-report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("test_one.py::test_something") == 2
    assert "1 passed" not in done.stdout
    assert "without a test: CONF-2" in done.stdout


def test_a_mark_that_cites_an_unknown_row_stops_the_run(tmp_path: Path) -> None:
    """A typing mistake in a mark would prove nothing, so the run ends before it begins."""
    (tmp_path / "test_one.py").write_text(TEST.format(ids="'CONF-999'"), encoding="utf-8")
    done = run_pytest(tmp_path)
    assert done.returncode == 4
    assert "test_one.py::test_something cites CONF-999" in done.stdout + done.stderr
