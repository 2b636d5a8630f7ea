"""What the two sides of a comparison may be, and how a revision comes to be in a folder."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import ReplayError, UsageError
from penstock.replays.diffing._checkouts import check_out, commit_of, root_of
from penstock.replays.diffing._sides import Here, NamedApp, Revision, asked
from tests.replays.diffing.payments import pay
from tests.replays.diffing.project import SHOP, Project


@pytest.mark.covers("LEAD-3")
def test_a_side_is_a_revision_an_app_a_projection_or_this_app(project: Project) -> None:
    """Each way of naming one is understood, a branch before a module; what is nothing is refused with a remedy."""
    folder = project.folder
    commit = project.git("rev-parse", "HEAD").strip()
    assert asked(".", folder) == Here()
    assert asked("projection:totals_2", folder) == Here("projection:totals_2", "totals_2")
    assert asked("shop:app", folder) == NamedApp("shop:app")
    assert asked("app", folder) == NamedApp("app")
    assert asked("main", folder) == Revision("main", commit, folder.resolve())
    assert asked("HEAD~0", folder) == Revision("HEAD~0", commit, folder.resolve())
    for nothing in ("nowhere", "--help", "HEAD~7", "origin/main"):
        with pytest.raises(UsageError, match="shallow clone"):
            asked(nothing, folder)
    with pytest.raises(UsageError, match="no git repository"):
        asked("main", folder.parent)
    (folder / ".git" / "config").write_text("[core")
    with pytest.raises(UsageError, match=r"git does not read the repository.*bad config"):
        asked("main", folder)


@pytest.mark.covers("LEAD-3")
def test_a_revision_is_written_out_and_the_repository_stays_as_it_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of the commit are there, those that an archive leaves out too; index and working tree are not touched.

    What is imported from the repository is then imported from there.
    """
    project.write("src/shop/__init__.py", "")
    project.write("deep/settings.toml", "")
    project.write(".gitattributes", "deep export-ignore\n")
    project.commit("second")
    project.write("app.py", "staged")
    project.git("add", "app.py")
    project.write("app.py", "not staged")
    before = project.git("status", "--porcelain=v2"), project.git("worktree", "list")
    root = root_of(project.folder / "deep")
    assert root is not None
    assert root == project.folder.resolve()
    commit = commit_of(root, "second")
    assert commit is not None
    checkout = check_out(root, commit, tmp_path / "checkout")
    assert (checkout.place / "app.py").read_text() == SHOP
    assert (checkout.place / "deep" / "settings.toml").exists()
    assert (project.git("status", "--porcelain=v2"), project.git("worktree", "list")) == before
    assert checkout.moved(root / "deep") == checkout.place / "deep"
    assert checkout.moved(tmp_path) == tmp_path
    monkeypatch.setattr(sys, "path", [str(root / "src"), str(root / "gone"), str(tmp_path)])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert checkout.import_path().split(os.pathsep) == [str(checkout.place / "src")]


@pytest.mark.covers("LEAD-3")
async def test_a_side_that_cannot_be_built_is_told_with_its_reason(
    app: App, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision whose app cannot be loaded, or has no such projection, is named; the other side is ended as well."""
    project.write("app.py", "from penstock import App\nraise RuntimeError('half done')\n")
    project.commit("broken")
    project.write("app.py", SHOP.replace('"totals", tables', '"sums", tables'))
    project.commit("renamed")
    project.write("app.py", f"{SHOP}\nimport os\n\nos._exit(3)\n")
    project.commit("dies")
    monkeypatch.chdir(project.folder)
    await pay(app, 3)
    with pytest.raises(ReplayError, match=r"broken could not be built: .*half done"):
        await app.replays.diff("totals", "broken", ".")
    with pytest.raises(ReplayError, match=r"dies could not be built: its process ended with 3"):
        await app.replays.diff("totals", "dies", ".")
    with pytest.raises(ReplayError, match=r"renamed could not be built: .*'totals'"):
        await app.replays.diff("totals", "renamed", ".")


@pytest.mark.covers("LEAD-3")
async def test_two_apps_can_be_compared_without_a_repository(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app is named as on the command line, and built in a process of its own, over the events of this app."""
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "other.py").write_text(SHOP.replace("=paid.cents", "=paid.cents + 1"))
    monkeypatch.chdir(folder)
    await pay(app, 14)
    found = await app.replays.diff("totals", ".", "other:app")
    assert (found.before.label, found.after.label, found.differing) == ("", "other:app", 7)
    assert not list(folder.glob("*.db"))


@pytest.mark.covers("LEAD-3")
async def test_cancelled_it_leaves_no_process_and_no_folder(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that is cancelled ends the process that it started, and removes what it made."""
    folder = tmp_path / "apps"
    folder.mkdir()
    waits = "import os, time\nfrom pathlib import Path\nPath('pid').write_text(str(os.getpid()))\n"
    waits += "while not Path('finish').exists():\n    time.sleep(0.01)\n"
    (folder / "other.py").write_text(waits)
    monkeypatch.chdir(folder)
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    await pay(app, 3)
    comparing = asyncio.create_task(app.replays.diff("totals", ".", "other:app"))
    async with asyncio.timeout(90):
        while not (folder / "pid").exists() or not (folder / "pid").read_text():
            await asyncio.sleep(0.01)
    comparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await comparing
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
    assert not list(made.iterdir())
