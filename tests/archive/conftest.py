"""Archives of every kind."""

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock.archive import Archive, MemoryArchive
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive

KINDS = ("memory", "sqlite", "postgres", "files", "remote files")


@pytest.fixture
def make_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Archive]:
    """Makes an archive of a kind; called again with the same kind, another one on the same storage."""
    remote = f"memory://archive-{uuid.uuid4().hex}"
    memory = MemoryArchive()

    def make(kind: str) -> Archive:
        match kind:
            case "memory":
                return memory
            case "sqlite":
                return SqlArchive(f"sqlite:///{tmp_path}/kept/archive.db")
            case "postgres":
                return SqlArchive(request.getfixturevalue("postgres_database"))
            case "files":
                return FilesArchive(str(tmp_path / "kept"))
            case _:
                return FilesArchive(remote)

    return make


@pytest.fixture(params=KINDS)
async def archive(
    request: pytest.FixtureRequest, make_archive: Callable[[str], Archive]
) -> AsyncIterator[Archive]:
    """An open, empty archive of each kind."""
    made = make_archive(request.param)
    await made.open()
    yield made
    await made.close()
