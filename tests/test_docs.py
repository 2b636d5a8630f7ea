"""The documentation is true: its code runs and prints what it shows, its links lead somewhere, no page is lost."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs_runner import PageError, PageRun, blocks, compare

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("docs", "changes", "examples", "benchmarks", "tests", "src")
WRITTEN = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)

HOSTS = frozenset({"127.0.0.1", "localhost", "example.com", "example.org", "HOST"})
"""Hosts a page may name besides those of the projects we build on."""
PROJECTS = re.compile(
    r"(.+\.)?(github\.com|ietf\.org|python\.org|readthedocs\.io|redis\.io|rfc-editor\.org|valkey\.io|w3\.org"
    r"|keepachangelog\.com|semver\.org|microsoft\.com)"
)


def named(path: Path) -> str:
    """How a test about a page is listed."""
    return path.relative_to(ROOT).as_posix()


POSTGRES_URL = "POSTGRES_URL"
"""A page that names this variable has an empty PostgreSQL database behind it."""


def run_page(name: str, text: str, folder: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run all blocks of a page."""
    home = folder / "page"
    home.mkdir()
    with PageRun(home, variables or {}) as page:
        for block in blocks(name, text):
            page.run(block)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every block of the page runs, in order, in a folder of its own, and prints what the page shows."""
    text = page.read_text(encoding="utf-8")
    variables = {POSTGRES_URL: request.getfixturevalue("postgres_database")} if POSTGRES_URL in text else {}
    run_page(named(page), text, tmp_path, variables)


def links(path: Path) -> list[str]:
    """Where the links of a page lead, code aside."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "``", text)
    return re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"^\[[^\]]+\]: *(\S+)", text, flags=re.M)


def anchors(path: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.+?) *#*$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link meets a file of the project, and its anchor a heading there."""
    broken: list[str] = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        inside = path.is_relative_to(ROOT) and path.exists()
        if not inside or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_a_page_names_no_machine_of_ours(page: Path) -> None:
    """Pages know no folder of the machine they were written on, and only hosts that readers can know, too."""
    text = page.read_text(encoding="utf-8")
    assert f"{ROOT}/" not in text
    assert f"{Path.home()}/" not in text
    assert not re.search(r"index-url|find-links|trusted-host", text)
    hosts = set(re.findall(r"https?://(?:[^@/\s]+@)?([\w.\-]+)", text))
    assert {host for host in hosts - HOSTS if not PROJECTS.fullmatch(host)} == set()


def test_every_page_can_be_found_from_the_index() -> None:
    """docs/README.md lists each page of the documentation, or the index of the folder that does."""
    indexes = [path for path in PAGES if path.name == "README.md"]
    listed = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links(index)}
    assert [named(page) for page in PAGES[1:] if page not in listed] == []
    assert (ROOT / "docs" / "README.md").resolve() in listed, "README.md leads to the documentation"


def test_changelog_fragments_say_what_kind_of_change_they_are() -> None:
    """What `make changelog` would pass over is found here: a file of an unknown kind, or an empty one."""
    folder = ROOT / "changes"
    kinds = "security|removed|deprecated|added|changed|fixed"
    fragments = [path for path in folder.iterdir() if path.name != "README.md"]
    wrong = [
        path.name for path in fragments if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.md", path.name)
    ]
    assert wrong == [], "see changes/README.md"
    assert [path.name for path in fragments if not path.read_text(encoding="utf-8").strip()] == []


GOOD = """
```python file=numbers_of_ours.py
TWO = 2
```
```python
import asyncio
from numbers_of_ours import TWO
four = TWO + TWO
```
Names live on, and one may wait:
```python
await asyncio.sleep(0)
print("four is", four)
```
```text output
four is ...
```
- in a list:
  ```console
  $ mkdir inner && cd inner
  $ echo one; echo two; \\
  > echo three
  one
  ...
  $ sleep 100 &
  $ basename $PWD
  inner
  ```
"""


def test_a_page_is_run_from_top_to_bottom(tmp_path: Path) -> None:
    """Files, names, folders and printed text carry over from block to block; what runs on is ended with the page."""
    run_page("good.md", GOOD, tmp_path)
    assert (tmp_path / "page" / "inner").is_dir()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\n1 / 0\n```", 'page.md", line 4'),
        ("```python\nawait nothing\n```", "NameError"),
        ("```python\nraise SystemExit\n```", "SystemExit"),
        ("```python\nimport os; os._exit(0)\n```", "the process ended"),
        ("```python notest reason=never\nif:\n```", "is not python"),
        ("```python notest\npass\n```", "says why"),
        ("```python notest reason=\npass\n```", "says why"),
        ("```python nottest reason=x\npass\n```", "unknown in a fence: nottest"),
        ("```pyhton\npass\n```", "'pyhton' is unknown"),
        ("```\nplain\n```", "'' is unknown"),
        ("```toml\na = \n```", "is not toml"),
        ("```json\n{a: 1}\n```", "is not json"),
        ("```yaml\na: [\n```", "is not yaml"),
        ("```python\nprint(1)\n```\n```text output\n2\n```", "-2\n+1"),
        ("```console\n$ echo a\nb\n```", "-b\n+a"),
        ("```console\n$ exit 3\n$ true\n```", "ended with code 3, not 0"),
        ("```console exit=3\n$ true\n```", "ended with code 0, not 3"),
        ("```console\necho a\n```", "begins with a command"),
        ("```bash\nfalse\ntrue\n```", "ended with code 1, not 0"),
    ],
)
def test_a_page_that_is_wrong_is_found_out(text: str, complaint: str, tmp_path: Path) -> None:
    """Each way in which a block can break its word ends in an error with page and line."""
    with pytest.raises(PageError, match=re.escape(complaint)) as caught:
        run_page("page.md", f"# Title\n\n{text}\n", tmp_path)
    assert str(caught.value).startswith("page.md:")


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a\n", "a  \n\n", True),
        ("a...z", "a to z", True),
        ("a...z", "a\nz", False),
        ("a\n...\nz", "a\nb\nc\nz\n", True),
        ("a\n...\nz", "a\nz\n", True),
        ("a\n...", "a\nb\n", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
        ("", "a", False),
    ],
)
def test_dots_stand_for_anything(expected: str, actual: str, *, same: bool) -> None:
    """Three dots stand for text within a line, or, alone, for lines; everything else is taken at its word."""
    assert (compare(expected, actual) == "") is same
