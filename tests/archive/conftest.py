"""Archives of every kind, and streams that they take from."""

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.archive import Archive, MemoryArchive
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.streams.valkey import ValkeyBroker

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


@pytest.fixture(params=["memory", "valkey"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[StreamBroker]:
    """Streams in memory, and on a real server."""
    made: Any = MemoryBroker()
    if request.param == "valkey":
        url = request.getfixturevalue("server_url")
        made = ValkeyBroker(url, namespace=f"archive-{uuid.uuid4().hex[:12]}")
    await made.open()
    yield made
    for stream in await made.streams():
        await made.delete_stream(stream)
    await made.close()
