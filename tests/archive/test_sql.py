"""The archive in a database: what it is made of, and what it says when it cannot."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from penstock.archive import Archive, Created
from penstock.archive._table import table
from penstock.archive.sql import SqlArchive
from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError
from penstock.position import EntryId
from penstock.testing.contracts.archive import archived


async def test_sqlite_is_written_through_to_the_disk(tmp_path: Path) -> None:
    """WAL and synchronous=FULL: what is answered as kept survives a power cut."""
    archive = SqlArchive(f"sqlite:///{tmp_path}/archive.db")
    await archive.open()
    assert archive._engine is not None
    with archive._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
    await archive.close()


async def test_an_engine_of_the_users_is_used_and_left_open(tmp_path: Path) -> None:
    """It is theirs: closing the archive does not close it."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/mine.db")
    archive = SqlArchive(engine)
    await archive.open()
    await archive.create(archived())
    await archive.close()
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1
    engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    """Before anything is connected, with what to write instead."""
    with pytest.raises(ConfigurationError, match=r"sqlite:///archive\.db"):
        SqlArchive(url)


def test_a_password_is_not_shown() -> None:
    """Neither in a repr nor in a message."""
    assert "secret" not in repr(SqlArchive("postgresql://me:secret@127.0.0.1:1/x"))


async def test_a_database_that_is_away_is_a_short_error() -> None:
    """It names the server and no password; trying again is safe."""
    archive = SqlArchive("postgresql://me:secret@127.0.0.1:1/x")
    with pytest.raises(ArchiveUnavailableError, match=r"127\.0\.0\.1") as caught:
        await archive.open()
    assert "secret" not in str(caught.value)


async def test_a_file_that_may_only_be_read_keeps_nothing_and_shows_all(tmp_path: Path) -> None:
    """What is archived can be looked at; keeping says that it is read-only."""
    path = tmp_path / "archive.db"
    archive = SqlArchive(f"sqlite:///{path}")
    await archive.open()
    await archive.create(archived())
    await archive.close()
    uri = f"sqlite:///file:{path}?mode=ro&uri=true"
    reader = SqlArchive(uri)
    await reader.open()
    assert await reader.find("orders", "e1") is not None
    with pytest.raises(ArchiveUnavailableError, match="readonly"):
        await reader.create(archived("e2"))
    with pytest.raises(ArchiveUnavailableError, match="readonly"):
        await reader.delete("orders", [archived().place])
    await reader.close()
    assert path.stat().st_mode & stat.S_IRUSR


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """The database cannot grow: the batch is refused whole, and what was there stays."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/small.db")

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    event.listen(engine, "connect", limit)
    archive = SqlArchive(engine)
    await archive.open()
    await archive.create(archived())
    with pytest.raises(ArchiveUnavailableError, match="full"):
        await archive.create_many(
            [archived(f"x{number}", EntryId(number), body=b"x" * 10_000) for number in range(50)]
        )
    assert dict(await archive.counts()) == {"orders": 1}
    assert await archive.create(archived("e2")) is Created.NEW
    await archive.close()
    engine.dispose()


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    """And is not touched."""
    path = tmp_path / "archive.db"
    path.write_bytes(b"something else" * 500)
    with pytest.raises(ArchiveError, match="not a database"):
        await SqlArchive(f"sqlite:///{path}").open()
    assert path.read_bytes() == b"something else" * 500


async def test_postgres_needs_no_right_to_create_when_the_table_is_there(
    make_archive: Callable[[str], Archive], postgres_database: str
) -> None:
    """The owner makes it; a role without that right archives; without the table the error says what to do."""
    url = postgres_database.replace("postgresql://", "postgresql+psycopg://")
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"role_{sa.make_url(url).database}"
    with owner.connect() as connection:
        for statement in (
            f"CREATE ROLE {name} LOGIN",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {name}",
        ):
            connection.execute(sa.text(statement))
    small = SqlArchive(postgres_database.replace("postgres:@", f"{name}:@"))
    with pytest.raises(ConfigurationError, match="right to create"):
        await small.open()
    made = make_archive("postgres")
    await made.open()
    await made.close()
    await small.open()
    assert await small.create(archived()) is Created.NEW
    await small.close()
    with owner.connect() as connection:
        connection.execute(sa.text("DROP TABLE penstock_archive"))
        connection.execute(sa.text(f"DROP OWNED BY {name}"))
        connection.execute(sa.text(f"DROP ROLE {name}"))
    owner.dispose()


def test_importing_penstock_imports_no_database() -> None:
    """Neither SQLAlchemy nor fsspec, until an archive needs them; its asyncio part never."""
    code = (
        "import sys, penstock, penstock.archive, penstock.operations\n"
        "assert not {'sqlalchemy', 'fsspec', 'psycopg'} & set(sys.modules), set(sys.modules)\n"
        "import penstock.archive.sql, penstock.archive.files\n"
        "assert 'sqlalchemy.ext.asyncio' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
