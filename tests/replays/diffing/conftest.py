"""Real git repositories, and the shop in one of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock import App
from tests.replays.diffing.payments import declare, total_table
from tests.replays.diffing.project import SHOP, Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with the shop as its first commit, ``first``; the tests' own settings of git."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    made.git("init", "--quiet")
    made.write("app.py", SHOP)
    made.write(".gitignore", "*.db*\n__pycache__/\n*.jsonl\n.penstock/\n")
    made.commit("first")
    return made


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A shop in SQLite whose totals are live, and to which the tests add other versions."""
    app = App("shop", streams="memory://", store=f"sqlite:///{tmp_path / 'shop.db'}")
    declare(app, "totals", total_table("totals"))
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(app)
