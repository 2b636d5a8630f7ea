"""Archives by name: built in, from packages, the app's own; and what is refused."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from penstock import App
from penstock.archive import MemoryArchive, check_archive, make_archive
from penstock.archive import _drivers as drivers
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive
from penstock.errors import ConfigurationError, IncompleteArchiveError, MissingExtraError, NoArchiveError
from penstock.testing.contracts.archive import archived


class Half:
    """Something with a part of an archive."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url

    async def find(self) -> None:
        """Nothing."""


class Tape(MemoryArchive):
    """A driver from a package."""

    def __init__(self, url: str | None) -> None:
        super().__init__()
        self.url = url


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that name drivers."""
    points = EntryPoints(
        [
            EntryPoint("tape", f"{__name__}:Tape", drivers.ENTRY_POINTS),
            EntryPoint("half", f"{__name__}:Half", drivers.ENTRY_POINTS),
        ]
    )
    monkeypatch.setattr(drivers, "entry_points", points.select)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


@pytest.mark.covers("ARCH-1")
def test_the_built_in_drivers_have_names(tmp_path: Path) -> None:
    """Without a URL they keep what they keep in the data folder."""
    sql = make_archive("sql", None, data_folder=tmp_path)
    assert isinstance(sql, SqlArchive)
    assert str(tmp_path / "archive.db") in repr(sql)
    files = make_archive("files", None, data_folder=tmp_path)
    assert isinstance(files, FilesArchive)
    assert str(tmp_path / "archive") in repr(files)
    assert isinstance(make_archive("memory", None, data_folder=tmp_path), MemoryArchive)


@pytest.mark.covers("ARCH-1")
@pytest.mark.usefixtures("installed")
def test_packages_name_drivers_of_their_own(tmp_path: Path) -> None:
    """By the entry point group; one that lacks something is refused with what that is."""
    assert vars(make_archive("tape", "tape://1", data_folder=tmp_path))["url"] == "tape://1"
    with pytest.raises(IncompleteArchiveError, match=r"'half' lacks .*create_many") as caught:
        make_archive("half", None, data_folder=tmp_path)
    assert "find" not in caught.value.missing
    assert "find_many" in caught.value.missing
    with pytest.raises(ConfigurationError, match="sql, files, memory, half, tape"):
        make_archive("disc", None, data_folder=tmp_path)


@pytest.mark.covers("ARCH-7")
def test_no_driver_is_no_archive(tmp_path: Path) -> None:
    """There is no default that throws things away."""
    with pytest.raises(NoArchiveError, match="nothing was archived or removed"):
        make_archive(None, None, data_folder=tmp_path)


def test_a_missing_package_is_named_by_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip install says it all."""
    monkeypatch.delitem(sys.modules, "penstock.archive.sql", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"penstock\[sql\]"):
        make_archive("sql", None, data_folder=tmp_path)


@pytest.mark.covers("ARCH-1")
async def test_the_apps_own_archive_goes_first(tmp_path: Path) -> None:
    """Given in code, checked when it is first needed, closed with the app, and there again when that is opened."""
    app = App("shop", streams="memory://", data_folder=str(tmp_path), archive={"driver": "sql"})
    mine = MemoryArchive()
    app.archive = mine
    async with app:
        assert await app.open_archive() is mine
        await mine.create(archived())
    async with app:
        found = await app.open_archive()
        assert await found.find("orders", "e1") is not None
    wrong: Any = Half()
    app.archive = wrong
    with pytest.raises(IncompleteArchiveError, match="'Half'"):
        await app.open_archive()
    assert not (tmp_path / "archive.db").exists()
    assert check_archive(mine, "mine") is mine


async def test_settings_say_where_the_archive_is(tmp_path: Path) -> None:
    """Paths are relative to the file that says them; an archive in memory lives as long as its app."""
    (tmp_path / "penstock.toml").write_text(
        '[archive]\ndriver = "SQL"\nurl = "sqlite:///inner/archive.db"\n', encoding="utf-8"
    )
    async with App("shop", streams="memory://", config=tmp_path / "penstock.toml") as app:
        await (await app.open_archive()).create(archived())
    assert (tmp_path / "inner" / "archive.db").exists()
    memory = App("shop", streams="memory://", archive={"driver": "memory"})
    async with memory:
        await (await memory.open_archive()).create(archived())
    async with memory:
        assert dict(await (await memory.open_archive()).counts()) == {"orders": 1}


async def test_no_archive_is_an_error_when_it_is_needed() -> None:
    """Not before: an app without one works."""
    async with App("shop", streams="memory://") as app:
        with pytest.raises(NoArchiveError):
            await app.open_archive()
