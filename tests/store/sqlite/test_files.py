"""A file that is not as it should be: what is wrong with it is said, with a remedy, and nothing in it is lost."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._database import SqliteConnection
from penstock.testing.contracts._store_common import added, ids, new, read_all

BIG = b'"' + b"x" * 100_000 + b'"'


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    """Opening it fails with its name and a remedy, and the file is not touched."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"these are my notes, and not a database at all\n" * 100)
    backend = SqliteBackend("local", path)
    with pytest.raises(StoreRefusedError, match=r"notes\.txt is no SQLite database: name another file"):
        await backend.open()
    assert path.read_bytes().startswith(b"these are my notes")
    await backend.close()


async def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    """Pages that are overwritten are found when they are read."""
    backend = SqliteBackend("local", path)
    for start in range(0, 2000, 500):
        await added(
            backend, *(new("order-1", f"e{start + number}", data=BIG[:900] + b'"') for number in range(500))
        )
    await backend.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(8192)
        file.write(b"\xab" * (size - 16384))
    damaged = SqliteBackend("local", path)
    with pytest.raises(StoreRefusedError, match=r"is damaged: restore it from a backup"):
        await read_all(damaged)
    await damaged.close()


async def test_a_locked_file_is_waited_for_and_then_said_to_be_locked(
    store: SqliteBackend, path: Path
) -> None:
    """Another process that holds the lock too long has appends fail, to be repeated; reading goes on meanwhile."""
    await added(store, new())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="is locked by another connection"):
            await added(store, new(event_id="a"))
        assert len(await read_all(store)) == 1
        other.execute("ROLLBACK")
    await added(store, new(event_id="a"))
    assert len(await read_all(store)) == 2


async def test_a_lock_that_is_given_back_in_time_is_waited_for(path: Path) -> None:
    """An append behind another process's transaction goes in when that ends."""
    backend = SqliteBackend("local", path)
    await backend.open()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(added(backend, new()))
        assert (await asyncio.wait([waiting], timeout=0.2))[1]
        other.execute("COMMIT")
        await waiting
    await backend.close()


@pytest.mark.covers("STORE-1")
async def test_a_full_disk_refuses_appends_and_keeps_what_was_there(path: Path) -> None:
    """What does not fit is not there at all; after room was made the same append goes in."""
    backend = SqliteBackend("local", path)
    await added(backend, new(event_id="small"))
    await backend.close()

    bounded = SqliteBackend("local", path)
    connect = bounded.database.connect

    def small(*, application: str = "") -> SqliteConnection:
        connection = connect(application=application)
        connection.execute(f"PRAGMA max_page_count={60 if limit else 2**30}")
        return connection

    limit = True
    bounded.database.connect = small  # type: ignore[method-assign]
    events = [new("order-2", f"big{number}", data=BIG) for number in range(10)]
    with pytest.raises(StoreUnavailableError, match="is full: free some space"):
        await added(bounded, *events)
    assert ids(await read_all(bounded)) == ["small"]
    await added(bounded, new(event_id="fits"))
    await bounded.close()
    limit = False
    await added(bounded, *events)
    assert ids(await read_all(bounded)) == ["small", "fits", *(event.id for event in events)]
    await bounded.close()


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Within the block the process has no right to write in *folder*, which root would have anyway."""
    for each in (folder, *folder.iterdir()):
        each.chmod(each.stat().st_mode & ~0o222 | 0o444)
    am_root = os.geteuid() == 0
    if am_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if am_root:
            os.seteuid(0)
        for each in (folder, *folder.iterdir()):
            each.chmod(each.stat().st_mode | 0o200)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that everybody can look into."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_a_file_that_may_only_be_read_is_said_to_be(readable: Path) -> None:
    """An append fails with what to change; nothing is made anew, and with the right given back it goes in."""
    path = readable / "events.db"
    writer = SqliteBackend("local", path)
    await added(writer, new(event_id="a"))
    with closing(sqlite3.connect(path)) as keeps_the_log:
        keeps_the_log.execute("SELECT count(*) FROM penstock_events").fetchone()
        await writer.close()
        reader = SqliteBackend("local", path)
        with as_nobody(readable):
            await reader.open()
            assert ids(await read_all(reader)) == ["a"]
            with pytest.raises(StoreRefusedError, match="may only be read: give this user the right"):
                await added(reader, new(event_id="b"))
        await reader.close()
    await added(writer, new(event_id="b"))
    assert ids(await read_all(writer)) == ["a", "b"]
    await writer.close()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder."""
    (tmp_path / "file").write_text("")
    backend = SqliteBackend("local", tmp_path / "file" / "events.db")
    with pytest.raises(StoreUnavailableError, match="folder"):
        await backend.open()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", ":memory:", "", "file:x?mode=ro"]
)
def test_a_store_needs_a_file(url: str) -> None:
    """Memory would be another store for each connection."""
    with pytest.raises(ConfigurationError, match="names no file"):
        SqliteBackend("local", url)
