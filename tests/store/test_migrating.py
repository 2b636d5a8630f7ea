"""Migrations: what a database lacks, applied once, by whoever comes first, on both kinds of database."""

import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import MissingMigrationError, OtherMigrationError
from penstock.store import include_name, make_backend, migrating
from penstock.store.database import Database, Dialect

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(store_url: str) -> Database:
    """An empty database of each kind."""
    return make_backend("shared", store_url).database


def tables(database: Database) -> set[str]:
    """The tables that are there."""
    catalog = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if database.dialect == "sqlite"
        else "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    )
    with closing(database.connect()) as connection:
        database.begin(connection, write=False)
        rows = database.execute(connection, catalog).fetchall()
        connection.rollback()
    return {name for (name,) in rows}


def change(database: Database, statement: str) -> None:
    """Do something to the table of migrations."""
    with closing(database.connect()) as connection:
        database.begin(connection)
        database.execute(connection, statement)
        connection.commit()


def test_a_database_gets_what_it_lacks(database: Database) -> None:
    """At first everything, then nothing; what was applied is kept with its checksum and time."""
    every = list(migrating.migrations(database.dialect))
    assert every
    assert migrating.applied(database) == []
    assert migrating.pending(database) == every
    with pytest.raises(
        MissingMigrationError, match=r"'shared' lacks 0001_events.*penstock db migrate --store shared"
    ):
        migrating.check(database)
    assert migrating.apply(database) == every
    assert migrating.pending(database) == []
    assert migrating.apply(database) == []
    migrating.check(database)
    applied = migrating.applied(database)
    assert [(each.number, each.name, each.checksum) for each in applied] == [
        (each.number, each.name, each.checksum) for each in every
    ]
    assert all(each.applied_at.startswith("20") for each in applied)
    assert tables(database) >= {"penstock_events", "penstock_streams", "penstock_migrations"}


def test_looking_makes_nothing(database: Database) -> None:
    """To ask what is missing leaves no table behind."""
    migrating.pending(database)
    migrating.applied(database)
    assert not [name for name in tables(database) if name.startswith("penstock_")]


def test_many_that_migrate_at_the_same_time_do_it_once(database: Database) -> None:
    """Eight at a time: one applies each migration, the others find it done, none fails."""
    with ThreadPoolExecutor(8) as threads:
        done = [running.result() for running in [threads.submit(migrating.apply, database) for _ in range(8)]]
    assert sorted(each.number for some in done for each in some) == [
        each.number for each in migrating.migrations(database.dialect)
    ]


def test_a_migration_that_fails_leaves_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are one transaction."""
    every = migrating.migrations(database.dialect)
    broken = migrating.Migration(
        99, "0099_broken", "CREATE TABLE penstock_x (x integer);\nSELECT * FROM not_there;"
    )

    def shipped(_: Dialect) -> tuple[migrating.Migration, ...]:
        return (*every, broken)

    monkeypatch.setattr(migrating, "migrations", shipped)
    with pytest.raises(Exception, match="not_there"):
        migrating.apply(database)
    assert not [name for name in tables(database) if name.startswith("penstock_")]


def test_a_newer_database_is_refused(database: Database) -> None:
    """One that had a migration which this version does not know."""
    migrating.apply(database)
    change(
        database, "INSERT INTO penstock_migrations (number, name, checksum) VALUES (9000, '9000_later', 'x')"
    )
    for look in (migrating.pending, migrating.apply, migrating.check):
        with pytest.raises(
            OtherMigrationError, match=r"'shared': migration 9000_later is unknown to this version"
        ):
            look(database)


def test_a_changed_migration_is_refused(database: Database) -> None:
    """One that was applied with other statements than are shipped under its name."""
    migrating.apply(database)
    change(database, "UPDATE penstock_migrations SET checksum = 'x' WHERE number = 1")
    with pytest.raises(
        OtherMigrationError, match=r"migration 0001_events was applied with other statements"
    ) as caught:
        migrating.apply(database)
    assert (caught.value.store, caught.value.migration) == ("shared", "0001_events")


def test_the_statements_can_be_run_by_hand(database: Database) -> None:
    """What `sql` gives, run by the database's own means, leaves nothing to do."""
    script = migrating.sql(database.dialect)
    connection: Any = database.connect()
    with closing(connection):
        if database.dialect == "sqlite":
            connection.executescript(script)
        else:
            connection.execute(script)
            connection.commit()
    assert migrating.pending(database) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_migrations_are_numbered_without_doubles(dialect: Dialect) -> None:
    """Each has a number of its own, and both dialects have the same ones."""
    numbers = [each.number for each in migrating.migrations(dialect)]
    assert numbers == sorted(set(numbers))
    assert [each.name for each in migrating.migrations(dialect)] == [
        each.name for each in migrating.migrations("sqlite")
    ]


@pytest.mark.parametrize(
    ("name", "type_", "kept"),
    [
        ("penstock_events", "table", False),
        ("penstock_migrations", "table", False),
        ("orders", "table", True),
        ("penstock_like", "column", True),
        (None, "schema", True),
    ],
)
def test_autogenerate_of_alembic_leaves_our_tables_alone(name: str | None, type_: str, kept: bool) -> None:
    """The helper says no to our tables, and yes to everything else."""
    assert include_name(name, type_, {"schema_name": None}) is kept


@pytest.mark.timeout(120)
def test_the_wheel_has_the_migrations(tmp_path: Path) -> None:
    """Every file of SQL is in what is installed."""
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "build",
            "--wheel",
            "--offline",
            "--no-build-isolation",
            "-o",
            str(tmp_path),
            ".",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    folder = ROOT / "src" / "penstock" / "store" / "migrations"
    assert {f"penstock/store/migrations/{file.relative_to(folder)}" for file in folder.rglob("*.sql")} <= set(
        names
    )
